#!/bin/sh
# Starts another kernel in place of this one, and goes on there with the rest of the plan: `second-kernel.sh TEST`, where TEST
# is the name of the test that this is. It has passed when the other kernel says so.
#
# `second-kernel.sh TEST crash`: this kernel panics, and the other is the one that it has loaded for that, to look at what it leaves.
. /tests/lib.sh

new=/tmp/second
mkdir -p "$new/adyton" "$new/dev"
mknod "$new/dev/console" c 5 1
awk -v this="$1" -F '\t' 'found; $1 == this { found = 1 }' /adyton/plan > "$new/adyton/plan"
{
    echo '#!/bin/sh'
    echo "grep -q ' adyton-second-kernel' /proc/cmdline && echo 'ADYTON-TEST $1 ok'"
    echo 'exec run-plan'
} > "$new/adyton/start"
chmod 755 "$new/adyton/start"
cat /proc/iomem > "$new/adyton/memory-map"

{
    cd / && find . -xdev ! -path './adyton/*' | cpio -o -H newc
    cd "$new" && find adyton dev | cpio -o -H newc
} > /tmp/initrd 2> /dev/null
line="$(sed 's/crashkernel=[^ ]*//' /proc/cmdline) adyton-second-kernel"
if [ "$2" = crash ]; then
    adyton-guest-tests load-for-crash /adyton/kernel /tmp/initrd "$line nr_cpus=1 reset_devices" || exit 1
    echo c > /proc/sysrq-trigger
    exit 1
fi
exec adyton-guest-tests start-kernel /adyton/kernel /tmp/initrd "$line"
