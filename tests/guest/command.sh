#!/bin/sh
# The command does what its help says: status, run, ls, tree, inspect, kill, gc, log; text for people, JSON for programs.
. /tests/lib.sh

adyton status | grep -q "Not protected" || fail "status does not say what is not protected"
adyton status --json | grep -q '"interface": 1' || fail "status --json"

[ "$(echo input | adyton run /payloads/hello a | tail -n 1)" = input ] || fail "run does not carry the console"
adyton run --sandbox /payloads/fault undefined 2> /dev/null
[ $? = 125 ] || fail "run does not tell that a payload faulted"
adyton run /payloads/smp
[ $? = $((1000 % 256)) ] || fail "run does not give the payload's status"

adyton run /payloads/spin 0 &
runner=$!
sleep 1
domain=$(adyton ls | sed -n 's/^  \([0-9a-f]*\) *confidential.*/\1/p')
[ -n "$domain" ] || fail "ls shows no domain"
adyton tree | grep -q "$domain" || fail "tree does not show it"
adyton inspect "$domain" | grep -q "state *sealed" || fail "inspect does not know it"
measurement=$(adyton measure /payloads/spin 0)
[ ${#measurement} = 64 ] || fail "measure printed no measurement"
adyton inspect "$domain" | grep -q "$measurement" || fail "measure and the monitor do not agree"
[ "$(adyton measure /payloads/spin 1)" != "$measurement" ] || fail "measure does not heed arguments"
adyton ls --json | grep -q "\"id\": \"$domain\"" || fail "ls --json does not show it"

# Ctrl-C ends the domain and leaves nothing behind.
kill -INT $runner
wait $runner && fail "run succeeded although it was interrupted"
adyton ls | grep -q "whole pool is free" || fail "an interrupted run left something behind"

# What a killed owner leaves is collected.
adyton run /payloads/spin 0 &
runner=$!
sleep 1
adyton gc | grep -q "nothing to release" || fail "gc released a living claim"
kill -KILL $runner
wait $runner
adyton ls | grep -q "owner is gone" || fail "ls does not see that the owner is gone"
adyton gc | grep -q "released claim" || fail "gc released nothing"

# The right to write the device suffices to end anybody's claim.
adyton run /payloads/spin 0 2> /dev/null &
runner=$!
sleep 1
domain=$(adyton ls | sed -n 's/^  \([0-9a-f]*\) *confidential.*/\1/p')
adyton kill "$domain" || fail "kill failed"
wait $runner && fail "run succeeded although its domain was killed"
adyton ls | grep -q "whole pool is free" || fail "kill left something behind"
adyton kill zzz 2> /dev/null && fail "killed what is not there"

adyton log | grep -q . || fail "the log is empty"
adyton --help | grep -q "adyton run" || fail "the help gives no examples"

# Evidence about a domain, from its making to the verdict.
nonce=00112233445566778899aabbccddeeff
adyton evidence --nonce $nonce -o /tmp/evidence /payloads/hello one || fail "no evidence"
cat > /tmp/policy << END
version = 1
name = "hello"
subject = "hello"
security-version = 1
unmeasured = true
without-iommu = true
fetched-by-owner = true
[[domain]]
name = "hello"
measurement = ["$(adyton measure /payloads/hello one)"]
[[memory]]
between = ["hello", "domain-0"]
rights = ["rw-", "rwx"]
most = "16K"
[[command]]
from = "domain-0"
to = "hello"
[[derivation]]
from = "domain-0"
to = "hello"
END
echo "version = 1" > /tmp/anchors
verify() { adyton verify /tmp/evidence --policy /tmp/policy --anchors /tmp/anchors --nonce "$@"; }
verify $nonce || fail "genuine evidence is refused"
verify ff112233445566778899aabbccddeeff > /dev/null
[ $? = 2 ] || fail "a replayed nonce is not refused"
adyton graph /tmp/evidence | grep -q "<svg" || fail "no picture of it"

# A signature is about the domain that it is passed to.
cat > /tmp/signer.pem << END
-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIAUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUF
-----END PRIVATE KEY-----
END
signed=$(adyton sign --key /tmp/signer.pem --product 1 --version 1 -o /tmp/signature /payloads/hello one | sed -n 's/^measurement *//p')
[ "$(adyton measure --signature /tmp/signature /payloads/hello one)" = "$signed" ] || fail "sign and measure do not agree"
[ "$(adyton measure /payloads/hello one)" != "$signed" ] || fail "the window of the signature is not measured"
adyton evidence --signature /tmp/signature --nonce $nonce -o /tmp/signed /payloads/hello one || fail "no evidence of a signed domain"
od -An -v -tx1 /tmp/signed | tr -d ' \n' | grep -q "$signed" || fail "sign and the monitor do not agree"
adyton run --signature /tmp/signer.pem /payloads/hello 2> /dev/null && fail "a key was taken for a signature"

adyton evidence --nonce 00 -o /tmp/evidence /payloads/hello 2> /dev/null && fail "a nonce of one byte"
adyton run --evidence /tmp/evidence --nonce $nonce /payloads/hello one < /dev/null > /dev/null
verify $nonce > /dev/null || fail "evidence of what runs is refused"
exit 0
