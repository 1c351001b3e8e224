#!/bin/sh
# Ordinary work of domain 0, each piece with its time by the kernel's clock in nanoseconds.
# The argument is the unit to print: under -icount a nanosecond is an instruction.

unit=$1

now() { sed -n 's/^now at \([0-9]*\) nsecs/\1/p' /proc/timer_list; }

# Prints how long the rest of the command line took, divided by the second argument.
measure() {
    name=$1 times=$2
    shift 2
    start=$(now)
    "$@" > /dev/null 2>&1 || exit 1
    echo "ADYTON-BENCH $name $((($(now) - start) / times)) $unit"
}

fork_and_exec() {
    count=200
    while [ $count -gt 0 ]; do
        /bin/busybox true
        count=$((count - 1))
    done
}

# 256 MiB of fresh memory, every page of it touched: page faults and translations.
walk_memory() { dd if=/dev/zero of=/dev/null bs=256M count=1; }

# From the kernel's first clock reading to here.
echo "ADYTON-BENCH boot $(now) $unit"

dd if=/dev/zero of=/tmp/data bs=1M count=40 2> /dev/null
measure fork-exec 200 fork_and_exec
measure sha256-40-mib 1 sha256sum /tmp/data
measure memory-walk-256-mib 1 walk_memory
