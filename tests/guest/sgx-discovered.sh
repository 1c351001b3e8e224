#!/bin/sh
# The kernel has found an EPC of $1 MiB and offers enclaves, without a warning.
set -e
dmesg | grep -i sgx
bytes=$(($1 << 20))
found=0
for section in $(dmesg | sed -n 's/.*sgx: EPC section \(0x[0-9a-f]*\)-\(0x[0-9a-f]*\)$/\1:\2/p'); do
    found=$((found + ${section#*:} - ${section%:*} + 1))
done
[ "$found" = "$bytes" ] || { echo "$found bytes of EPC, not $bytes"; exit 1; }
[ -c /dev/sgx_enclave ]
[ -c /dev/sgx_provision ]
if dmesg | grep -i sgx | grep -v 'EPC section'; then
    echo "the driver has complained"
    exit 1
fi
