#!/bin/sh
# The kernel complained about nothing that the emulated bare machine would not make it complain
# about. Linux 6.12 warns once of QEMU's debug registers (exc_debug_kernel) with or without us.
. /tests/lib.sh

complaints='WARNING: CPU|BUG:|Oops|general protection|unchecked MSR|stall|soft lockup|clocksource.*unstable'
dmesg > /tmp/messages
grep -E "$complaints" /tmp/messages | grep -v exc_debug_kernel > /tmp/complaints && {
    grep -E -A 30 "$complaints" /tmp/messages | tail -n 40
    fail "the kernel complained"
}
exit 0
