#!/bin/sh
# Linux is not offered S3, in which memory keeps its contents, and who asks the hardware for it goes on.
. /tests/lib.sh

grep -q deep /sys/power/mem_sleep 2> /dev/null && fail "suspending to memory is offered"
# The sleep control register of QEMU's q35 with S3 and the enable bit.
adyton-guest-tests output 604:2:2400 || fail "the port cannot be written"
# By halves.
adyton-guest-tests output 605:1:24 || fail "the port cannot be written"
exit 0
