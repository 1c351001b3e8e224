# Sourced by steps.sh: evidence of this machine, and whether it is right. All by what is on the machine: a relying party would have it from
# elsewhere.

nonce=00112233445566778899aabbccddeeff

# The digest by which firmware measures the monitor: all of the file but its checksum and the place of a signature.
monitor_digest() {
    file=/boot/efi/EFI/adyton/adyton.efi
    { head -c 152 $file; tail -c +157 $file | head -c 76; tail -c +241 $file; } | sha256sum | cut -d ' ' -f 1
}

digest() {
    sha256sum "$1" | cut -d ' ' -f 1
}

register() {
    sed -n "s/^$1: //p" /root/parts/pcrs
}

# evidence LOADER: the exit status of the verifier, for anchors with that file's boot loaders.
evidence() {
    cat > /root/policy << END
version = 1
name = "hello"
subject = "hello"
security-version = 1
domain-0 = "any"
without-iommu = true
fetched-by-owner = true
[[domain]]
name = "hello"
measurement = ["$(adyton measure hello proven)"]
[[memory]]
between = ["hello", "domain-0"]
rights = ["rw-", "rwx"]
most = "16K"
[[command]]
from = "domain-0"
to = "hello"
[[derivation]]
from = "domain-0"
to = "hello"
END
    echo 'version = 1' > /root/anchors
    adyton evidence --nonce $nonce --output /root/evidence hello proven || return 1
    verify > /dev/null
    [ $? = 2 ] || return 1
    cat > /root/anchors << END
version = 1
[[machine]]
name = "this one"
key = "$(digest /root/parts/ak.tpmt)"
[[firmware]]
name = "its own"
pcrs = { 0 = "$(register 0)", 2 = "$(register 2)", 7 = "$(register 7)" }
[[monitor]]
name = "the package's"
image = "$(monitor_digest)"
security-version = 1
[[boot]]
name = "its own"
configuration = "$(digest /boot/efi/adyton/configuration)"
END
    cat "$1" >> /root/anchors
    verify
}

verify() {
    adyton verify /root/evidence --policy /root/policy --anchors /root/anchors --nonce $nonce --extract /root/parts
}

# What GRUB does here is what the operator's tool reads, and evidence is accepted by that alone.
loader() {
    adyton evidence --nonce $nonce --output /root/evidence hello proven &&
        adyton loader --name Debian /root/evidence > /root/loader &&
        says 'grub_cmd: chainloader /EFI/adyton/adyton.efi' cat /root/loader &&
        says 'loader     Debian' evidence /root/loader &&
        says unknown-boot-event evidence /dev/null
}

# What an update of the kernel makes of GRUB's menu is something else.
loader_changed() {
    says loader-mismatch evidence /root/loader && loader
}
