#!/bin/sh
# The pool lies where the command line wants it: above4g or below4g.
. /tests/lib.sh

[ -n "$(pool_ranges)" ] || fail "/proc/iomem has no Soft Reserved range"
pool_ranges | while read -r start end; do
    echo "pool $start-$end"
    case $1 in
        above4g) [ $((0x$start)) -ge $((1 << 32)) ] ;;
        below4g) [ $((0x$end)) -lt $((1 << 32)) ] ;;
        *) false ;;
    esac || fail "$start-$end is not $1"
done
