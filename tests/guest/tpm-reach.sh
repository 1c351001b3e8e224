#!/bin/sh
# Whether domain 0 reaches a TPM: by the kernel's drivers, by the firmware's table, and by the registers (a
# driver that is told to look there, tpm_tis.force=1, and a program). The argument says
# what is right: `present` is the control, without the monitor. The boots of this test have iomem=relaxed, since
# a register that a driver has is closed to /dev/mem otherwise.
. /tests/lib.sh

# Interface identification (PTP 1.05, section 6.4.2.9).
identity=$(devmem 0xfed40030 32 2>/dev/null)
status=$?
echo "register: $identity; devices: $(ls /sys/class/tpm 2>/dev/null)"
dmesg | grep -E 'TPM2|MSFT0101|tpm_' | head -n 5
case $1 in
    present)
        [ -e /sys/class/tpm/tpm0 ] || fail "there is no TPM to hide"
        [ -e /sys/firmware/acpi/tables/TPM2 ] || fail "there is no table to hide"
        [ $status = 0 ] && [ "$identity" != 0xFFFFFFFF ] || fail "the register answers $identity"
        ;;
    absent)
        [ -z "$(ls /sys/class/tpm 2>/dev/null)" ] || fail "the kernel has found a TPM"
        [ ! -e /sys/firmware/acpi/tables/TPM2 ] || fail "the firmware's table is there"
        [ -z "$(ls -d /sys/bus/acpi/devices/MSFT0101* 2>/dev/null)" ] || fail "ACPI has the device"
        # A program that loads from there or stores there is ended by SIGSEGV: the pages are not domain 0's.
        for register in 0xfed40000 0xfed40030 0xfed41000 0xfed44f00 0xfed45000; do
            devmem $register 32 2>/dev/null
            [ $? = 139 ] || fail "a load from $register"
        done
        devmem 0xfed40008 32 1 2>/dev/null
        [ $? = 139 ] || fail "a store"
        devmem 0xfee00030 32 > /dev/null || fail "the local APIC, which is open, does not answer"
        ;;
esac
