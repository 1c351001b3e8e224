#!/bin/sh
# What a machine does that Adyton is installed on, start by start; /root/stage says which. Runs as the last service of each start.
# Prints "ADYTON-STEP ok NAME" or "ADYTON-STEP failed NAME", and at a stage's end "ADYTON-STAGE NAME".

exec > /dev/console 2>&1
stage=$(cat /root/stage)

# step NAME COMMAND...: what it prints is shown where it fails.
step() {
    name=$1
    shift
    if output=$("$@" 2>&1); then
        echo "ADYTON-STEP ok $name"
    else
        echo "ADYTON-STEP failed $name"
        echo "$output" | tail -n 30
    fi
}

refuses() {
    ! "$@"
}

# leave NEXT COMMAND: the next stage, and how this one ends.
leave() {
    echo "$1" > /root/stage
    echo "ADYTON-STAGE $stage"
    sync
    exec systemctl "$2" --force
}

install_boot_loader() {
    grub-install --target=i386-pc /dev/vda &&
        grub-install --target=x86_64-efi --efi-directory=/boot/efi --no-nvram --removable
}

configure() {
    cat > /etc/adyton.toml << END
[monitor]
pool = "96M"
without-iommu = "allow"

[[tenant]]
size = "32M"
user = "alice"
END
    update-grub
}

misspelt() {
    cp /etc/adyton.toml /root/adyton.toml
    cp /boot/grub/grub.cfg /root/grub.cfg
    echo 'poool = 1' > /etc/adyton.toml
    refuses update-grub && cmp /boot/grub/grub.cfg /root/grub.cfg
    outcome=$?
    cp /root/adyton.toml /etc/adyton.toml
    return $outcome
}

says() {
    wanted=$1
    shift
    "$@" 2>&1 | tee /root/said | grep -q -- "$wanted" || { cat /root/said; return 1; }
}

permissions() {
    says 'root adyton 660' stat -c '%U %G %a' /dev/dax0.0 && says 'alice root 600' stat -c '%U %G %a' /dev/dax0.1
}

as_alice() {
    setpriv --reuid=alice --regid=alice --init-groups "$@"
}

no_failed_service() {
    systemctl list-units --failed --no-legend | tee /root/said
    ! [ -s /root/said ]
}

# By the distribution's own tool; packed quickly, for the machine is emulated.
update_initrd() {
    initrd=initrd-$(uname -r)
    printf 'COMPRESS=gzip\nCOMPRESSLEVEL=1\n' > /etc/initramfs-tools/conf.d/test
    before=$(cksum < "/boot/efi/adyton/$initrd")
    update-initramfs -u &&
        [ "$(cksum < "/boot/efi/adyton/$initrd")" != "$before" ] &&
        cmp "/boot/initrd.img-$(uname -r)" "/boot/efi/adyton/$initrd"
}

# A newer kernel, which is the same by another name, as its package leaves it when its initrd is made.
update_kernel() {
    for file in vmlinuz config initrd.img; do
        cp "/boot/$file-$(uname -r)" "/boot/$file-99.0-test"
    done
    run-parts --exit-on-error --regex='^zz-' --arg=99.0-test --arg=/boot/vmlinuz-99.0-test /etc/kernel/postinst.d
}

nothing_left() {
    find /boot -iname '*adyton*' | tee /root/said
    ! [ -s /root/said ]
}

domain0() {
    step status says 'runs below this system' adyton status
    step service systemctl --quiet is-active adyton-pool.service
    step no-failed-service no_failed_service
    step permissions permissions
    step run says 'Hello' adyton run hello root
    step tenant as_alice adyton --device /dev/dax0.1 run hello alice
    step not-a-tenant refuses as_alice adyton --device /dev/dax0.0 run hello alice
}

. /root/evidence.sh

case $stage in
install)
    step boot-loader install_boot_loader
    step user useradd alice
    step package dpkg -i /root/adyton.deb
    step doctor says 'virtualization (SVM) with nested paging' adyton doctor
    step configuration configure
    step misspelt misspelt
    step manual says doctor zcat /usr/share/man/man1/adyton.1.gz
    step completions bash -c '. /usr/share/bash-completion/completions/adyton && complete -p adyton'
    step entry grep -q 'id adyton' /boot/grub/grub.cfg
    leave domain0 poweroff
    ;;
domain0)
    domain0
    if [ -d /sys/firmware/efi ]; then
        step loader loader
        # The log, for evidence/tests/verification/debian.log.
        base64 /root/parts/log
        step initrd-update update_initrd
        step kernel-update update_kernel
        leave updated reboot
    fi
    step removal dpkg -r adyton
    leave plain reboot
    ;;
updated)
    step updated grep -q kernel-99.0-test /boot/efi/adyton/configuration
    step one-kernel test ! -e "/boot/efi/adyton/kernel-$(uname -r)"
    domain0
    step loader-changed loader_changed
    step removal dpkg -r adyton
    leave plain reboot
    ;;
plain)
    step no-monitor test ! -e /usr/bin/adyton
    step no-pool refuses grep -q 'Soft Reserved' /proc/iomem
    step nothing-left nothing_left
    step no-entry refuses grep -q 'id adyton' /boot/grub/grub.cfg
    step no-failed-service no_failed_service
    leave none poweroff
    ;;
esac
