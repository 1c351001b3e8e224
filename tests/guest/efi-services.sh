#!/bin/sh
# The firmware's run-time services work for domain 0: a variable is made, read, changed and deleted. And the clock runs.
. /tests/lib.sh

variables=/sys/firmware/efi/efivars
modprobe efivarfs
mount -t efivarfs efivarfs $variables || fail "no variables"
[ "$(ls $variables | wc -l)" -gt 10 ] || fail "only these: $(ls $variables)"
ls $variables | grep -q '^BootOrder-' || fail "no BootOrder"

name=$variables/AdytonTest-cfc8fc79-be2e-4ddc-97f0-9f98bfe298a0
# In the one name space in which efivarfs lets variables be deleted. Non-volatile, for boot and run time.
printf '\007\000\000\000first' > $name || fail "a variable cannot be made"
[ "$(tail -c +5 $name)" = first ] || fail "it reads as $(tail -c +5 $name)"
printf '\007\000\000\000second' > $name || fail "it cannot be changed"
[ "$(tail -c +5 $name)" = second ] || fail "it reads as $(tail -c +5 $name)"
rm $name || fail "it cannot be deleted"
[ ! -e $name ] || fail "it is still there"
umount $variables

before=$(cat /sys/class/rtc/rtc0/since_epoch)
sleep 2
after=$(cat /sys/class/rtc/rtc0/since_epoch)
echo "clock: $before, $after"
[ "$before" -gt 1600000000 ] || fail "the clock is wrong"
[ "$after" -gt "$before" ] && [ "$after" -le $((before + 30)) ] || fail "the clock does not run"
dmesg | grep -i 'efi.*\(error\|bug\|fault\|disabl\)' && fail "the kernel complains"
exit 0
