#!/bin/sh
# What is measured, and what evidence is about, has the function that --function names.
. /tests/lib.sh

function=00:13.0
program="--memory 2M disk"
evidence=/tmp/function-evidence
in_evidence() { od -An -v -tx1 $evidence | tr -d ' \n' | grep -q "$1"; }

adyton device assign $function || fail "the function is not given away"
without=$(adyton measure $program)
with=$(adyton measure --function $function $program) || fail "not measured"
adyton evidence --function $function --nonce 0011223344556677 -o $evidence $program || fail "no evidence"
in_evidence "$with" || fail "measure and evidence do not agree on a domain with a function"
in_evidence "$without" && fail "evidence is about a domain without the function"
other=$(adyton measure --function $function --device 1234:5678:010000=4K $program)
[ "$other" != "$with" ] || fail "--device does not override the function"
adyton evidence --nonce 0011223344556677 -o $evidence $program || fail "no evidence without"
in_evidence "$without" || fail "measure and evidence do not agree on a domain without one"
adyton device release $function || fail "the function is not taken back"
exit 0
