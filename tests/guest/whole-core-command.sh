#!/bin/sh
# `adyton run --core`: not while Linux uses the core, then there, to the end, and after a signal; each time Linux has it back.
. /tests/lib.sh

online=/sys/devices/system/cpu/cpu1/online

adyton run --core 1 hello core 2> /tmp/refused && fail "it ran on a core that is in use"
grep -q "offline" /tmp/refused || fail "it does not say why: $(cat /tmp/refused)"

echo 0 > $online || fail "core 1 does not go offline"
adyton run --core 1 --evidence /tmp/evidence --nonce 0011223344556677 hello core > /tmp/said || fail "status $?"
adyton graph --dot /tmp/evidence | grep -q "a core of its own" || fail "the picture does not show the core"
grep -q core /tmp/said || fail "it said $(cat /tmp/said)"
echo 1 > $online || fail "core 1 does not come back"

echo 0 > $online || fail "core 1 does not go offline again"
adyton run --core 1 spin 0 &
running=$!
sleep 2
adyton tree | grep -q "core 1 as a whole .* its own" || fail "tree does not show the core: $(adyton tree)"
echo 1 2> /dev/null > $online && fail "Linux has started a core that it has not"
kill $running
wait $running
status=$?
[ $status = 143 ] || fail "ended with status $status"
echo 1 > $online || fail "core 1 does not come back after the signal"
