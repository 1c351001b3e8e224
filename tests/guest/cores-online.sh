#!/bin/sh
# As many cores are online as the machine has, and each runs something.
. /tests/lib.sh

[ "$(nproc)" = "$1" ] || fail "$(nproc) cores of $1 are online"
core=0
while [ $core -lt "$1" ]; do
    taskset -c $core true || fail "nothing runs on core $core"
    core=$((core + 1))
done
