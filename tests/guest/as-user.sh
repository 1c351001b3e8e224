#!/bin/sh
# Permission on the device is the only right that domains need.
. /tests/lib.sh

device=$(ls /dev/dax* | head -n 1)
as_user() { su user -s /bin/sh -c "$1"; }

as_user "adyton run /payloads/hello" < /dev/null && fail "a user without permission ran a domain"
as_user "adyton run /payloads/hello" < /dev/null 2>&1 | grep -q "ask for permission" ||
    fail "the refusal does not say what is missing"

chown user "$device"
as_user "adyton run /payloads/hello works" < /dev/null | grep -q "argument: works" ||
    fail "a user with permission could not run a domain"
as_user "adyton-guest-tests siblings" || fail "a user with permission could not compose domains"
chown root "$device"
