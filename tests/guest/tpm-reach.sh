#!/bin/sh
# Whether domain 0 reaches a TPM: by the kernel's drivers, by the firmware's table, and by the registers. The argument says
# what is right: `present` is the control, without the monitor. The boots of this test have iomem=relaxed, since
# a register that a driver has is closed to /dev/mem otherwise.
. /tests/lib.sh

# Interface identification (PTP 1.05, section 6.4.2.9), through the kernel's own mapping.
identity=$(dd if=/dev/mem bs=4 count=1 skip=$((0xfed40030 / 4)) 2>/dev/null | od -A n -t x4 | tr -d ' ')
echo "register: $identity; devices: $(ls /sys/class/tpm 2>/dev/null)"
dmesg | grep -E 'TPM2|MSFT0101|tpm_' | head -n 5
case $1 in
    present)
        [ -e /sys/class/tpm/tpm0 ] || fail "there is no TPM to hide"
        [ -e /sys/firmware/acpi/tables/TPM2 ] || fail "there is no table to hide"
        [ -n "$identity" ] && [ "$identity" != ffffffff ] || fail "the register answers $identity"
        ;;
    absent)
        [ -z "$(ls /sys/class/tpm 2>/dev/null)" ] || fail "the kernel has found a TPM"
        [ ! -e /sys/firmware/acpi/tables/TPM2 ] || fail "the firmware's table is there"
        [ -z "$(ls -d /sys/bus/acpi/devices/MSFT0101* 2>/dev/null)" ] || fail "ACPI has the device"
        [ "$identity" = ffffffff ] || fail "the register answers $identity"
        # Asking for the locality, as a driver would begin.
        printf '\001\000\000\000' | dd of=/dev/mem bs=4 count=1 seek=$((0xfed40008 / 4)) conv=notrunc 2>/dev/null
        state=$(dd if=/dev/mem bs=4 count=1 skip=$((0xfed40000 / 4)) 2>/dev/null | od -A n -t x4 | tr -d ' ')
        [ "$state" = ffffffff ] || fail "the register answers $state"
        ;;
esac
