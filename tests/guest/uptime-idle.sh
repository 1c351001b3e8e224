#!/bin/sh
# An idle system is idle, and its clock goes on: three seconds of sleep take about three seconds,
# and most of them are spent idle.
. /tests/lib.sh

hundredths() { cut -d ' ' -f "$1" /proc/uptime | tr -d .; }

up=$(hundredths 1) idle=$(hundredths 2)
sleep 3
up=$(($(hundredths 1) - up)) idle=$(($(hundredths 2) - idle))
echo "up ${up}0 ms, idle ${idle}0 ms"
[ $up -ge 295 ] && [ $up -le 500 ] || fail "three seconds took ${up}0 ms"
[ $idle -ge 150 ] || fail "idle for ${idle}0 ms of three seconds"
