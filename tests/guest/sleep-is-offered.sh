#!/bin/sh
# The control of sleep-is-refused: the same machine without a monitor.
. /tests/lib.sh

grep -q deep /sys/power/mem_sleep || fail "suspending to memory is not offered"
