#!/bin/sh
# The monitor has asked the firmware to clear memory at a reset, and locked that: both variables, which were 0 before it, are 1.
. /tests/lib.sh
variables=/sys/firmware/efi/efivars
modprobe efivarfs
mount -t efivarfs efivarfs $variables || fail "no variables"
for name in MemoryOverwriteRequestControl-e20939be-32d4-41be-a150-897f85d49829 \
    MemoryOverwriteRequestControlLock-bb983ccf-151d-40e1-a07b-4a17be168292; do
    [ -e "$variables/$name" ] || fail "the firmware has no $name"
    # Four bytes of attributes stand in front.
    [ "$(tail -c +5 "$variables/$name" | od -An -tu1 | tr -d ' ')" = "$1" ] || fail "$name is not $1"
done
umount $variables
