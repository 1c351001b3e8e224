#!/bin/sh
# An ordinary Rust program that fills $1 MiB, in an enclave, and makes $2 of that: what it prints is what it prints elsewhere, and its sealing key is the same at each run.
. /tests/lib.sh

ip link set lo up
run() { ftxsgx-runner /programs/edp-program.sgxs "$1" || fail "the runner: $?"; }
run "$1" > /tmp/first
cat /tmp/first
grep -q '^threads (24, 119400)$' /tmp/first || fail "threads"
grep -q '^heap 250008000$' /tmp/first || fail "heap"
grep -q "^memory $2\$" /tmp/first || fail "memory"
grep -q '^tcp !echo$' /tmp/first || fail "tcp"
grep -q '^float -61.791540$' /tmp/first || fail "floating point"
grep -qE '^sealing-key [0-9a-f]{32}$' /tmp/first || fail "sealing key"
run 1 > /tmp/second
[ "$(grep key /tmp/first)" = "$(grep key /tmp/second)" ] || fail "another key at the next run"
