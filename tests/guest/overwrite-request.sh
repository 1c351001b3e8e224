#!/bin/sh
# The firmware has been asked to clear memory at a reset: by the variable that it makes if it does so. What domain 0 may still do about it
# depends on whether the firmware has a lock.
. /tests/lib.sh
modprobe efivarfs
mount -t efivarfs none /sys/firmware/efi/efivars 2>/dev/null
folder=/sys/firmware/efi/efivars
request=$folder/MemoryOverwriteRequestControl-e20939be-32d4-41be-a150-897f85d49829
lock=$folder/MemoryOverwriteRequestControlLock-bb983ccf-151d-40e1-a07b-4a17be168292
ls $folder | head -80
[ -e "$request" ] || { echo "the firmware has no such variable"; exit 1; }
[ -e "$lock" ] && echo "there is a lock"
# Four bytes of attributes, then the value.
value=$(od -An -tu1 -j4 "$request")
echo "value $value"
[ "$value" -eq 1 ]
