#!/bin/sh
# What the monitor keeps for itself is not in domain 0's map of memory: of all that the machine has
# (the argument, in MiB), System RAM and the pool together lack at least the 8 MiB that are its
# least reserve.
. /tests/lib.sh

total=0
ranges=$(sed -n 's/^\([0-9a-f]*\)-\([0-9a-f]*\) : \(System RAM\|Soft Reserved\)$/\1:\2/p' /proc/iomem)
for range in $ranges; do
    total=$((total + 0x${range#*:} - 0x${range%:*} + 1))
done
echo "domain 0 sees $((total >> 10)) KiB of $(($1 << 10)) KiB"
[ $total -gt $((($1 << 20) / 2)) ] || fail "it sees less than half"
[ $((($1 << 20) - total)) -ge $((8 << 20)) ] || fail "nothing is hidden from it"
