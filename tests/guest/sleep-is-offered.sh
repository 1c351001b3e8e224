#!/bin/sh
# The control of sleep-is-refused: the same machine without a monitor.
. /tests/lib.sh

grep -q mem /sys/power/state || fail "suspending to memory is not offered"
