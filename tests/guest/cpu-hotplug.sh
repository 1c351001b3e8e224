#!/bin/sh
# Every core but the first goes offline and comes back, three times, and runs something then.
. /tests/lib.sh

for round in 1 2 3; do
    for core in /sys/devices/system/cpu/cpu[1-9]*; do
        number=${core##*cpu}
        echo 0 > "$core/online" || fail "core $number does not go offline"
        [ "$(cat "$core/online")" = 0 ] || fail "core $number is still online"
        echo 1 > "$core/online" || fail "core $number does not come back"
        taskset -c "$number" sh -c ':' || fail "nothing runs on core $number"
    done
    echo "round $round: $(nproc) cores"
done
