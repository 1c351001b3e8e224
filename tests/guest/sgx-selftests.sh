#!/bin/sh
# The kernel's own SGX selftests, by the name of the program: all 16 pass, none is skipped. The oversubscribed ones fill all of the EPC.
. /tests/lib.sh

cd /selftests || fail "they are not there"
"./$1" > /tmp/selftests
cat /tmp/selftests
grep -q '^# Totals: pass:16 fail:0 xfail:0 xpass:0 skip:0 error:0' /tmp/selftests || fail "not all have passed"
