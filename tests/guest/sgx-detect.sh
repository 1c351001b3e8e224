#!/bin/sh
# Fortanix's own look at a machine: SGX 2, launch control, the driver, and enclaves in debug and production mode, one of them signed by its vendor.
. /tests/lib.sh

ip link set lo up
sgx-detect --plaintext > /tmp/detect || fail "sgx-detect: $?"
cat /tmp/detect
for line in "SGX instruction set" "SGX2" "Flexible launch control" "SGX kernel device" "Debug mode" "Production mode" "Intel whitelisted"; do
    grep "$line" /tmp/detect | grep -q yes || fail "no $line"
done
grep -q "all set to start running SGX programs" /tmp/detect || fail "not all is set"
