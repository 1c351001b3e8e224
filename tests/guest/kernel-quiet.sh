#!/bin/sh
# The kernel complained about nothing that bare metal would not make it complain about.
. ./lib.sh

dmesg | grep -E 'WARNING:|BUG:|Oops|general protection|unchecked MSR|Call Trace|rcu.*stall|soft lockup|clocksource.*unstable' &&
    fail "the kernel complained"
exit 0
