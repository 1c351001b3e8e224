#!/bin/sh
# At the first start the monitor is made to panic, which resets the machine; at the second it tells of it, and is made to use up
# its stack; at the third it tells of that.
if adyton log | grep -q 'ended by a panic: .*the stack of core [0-9]* is used up'; then
    exit 0
fi
if adyton log | grep -q 'ended by a panic: .*as the self-check was asked to'; then
    exec adyton-guest-tests use-up-stack
fi
exec adyton-guest-tests panic-monitor
