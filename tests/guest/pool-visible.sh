#!/bin/sh
# The pool is there for programs, and is not ordinary memory.
. /tests/lib.sh

cat /proc/iomem
[ -n "$(pool_ranges)" ] || fail "/proc/iomem has no Soft Reserved range"
[ -n "$(ls /dev/dax* 2>/dev/null)" ] || fail "there is no /dev/dax*"

# Hotplugged by kmem it would appear as System RAM below the Soft Reserved line.
sed -n '/Soft Reserved/,/^[^ ]/p' /proc/iomem | grep '^ .*System RAM' &&
    fail "a part of the pool is System RAM"

# Every range lies outside all System RAM.
grep -E '^[0-9a-f]+-[0-9a-f]+ : System RAM' /proc/iomem | tr '-' ' ' | while read -r start end rest; do
    pool_ranges | while read -r pool_start pool_end; do
        if [ $((0x$pool_start)) -le $((0x$end)) ] && [ $((0x$start)) -le $((0x$pool_end)) ]; then
            fail "System RAM $start-$end overlaps the pool $pool_start-$pool_end"
        fi
    done || exit 1
done || exit 1

# Each device has its range, and the driver through which programs map it.
for device in /sys/bus/dax/devices/dax*; do
    echo "${device##*/}: $(cat "$device/size") bytes, alignment $(cat "$device/align")"
    [ "$(basename "$(readlink "$device/driver")")" = device_dax ] || fail "${device##*/} has no driver"
    [ "$(cat "$device/size")" -ge $((32 << 20)) ] || fail "${device##*/} is too small"
done
