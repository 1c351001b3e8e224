#!/bin/sh
# What a quote says is checked by tools that know nothing of us: signature, nonce and values by tpm2_checkquote, the log by
# tpm2_eventlog. Neither talks to a TPM.
. /tests/lib.sh
export TPM2TOOLS_TCTI=none

folder=/tmp/quote
measured-boot write $folder "a nonce" || fail "no quote"
{
    echo "-----BEGIN PUBLIC KEY-----"
    base64 $folder/key.der
    echo "-----END PUBLIC KEY-----"
} > $folder/key.pem

check() {
    tpm2_checkquote -g sha256 -u $folder/key.pem -m $folder/statement -s $folder/signature -q "$1" \
        -f "$2" > $folder/said 2>&1
}
qualification=$(cat $folder/qualification)
check "$qualification" $folder/registers.tpm2 || { cat $folder/said; fail "tpm2_checkquote refuses"; }
check "00${qualification#??}" $folder/registers.tpm2 && fail "it takes another nonce"
cp $folder/registers.tpm2 $folder/others
# In the first value.
printf x | dd of=$folder/others bs=1 seek=150 conv=notrunc 2>/dev/null
check "$qualification" $folder/others && fail "it takes other values"

tpm2_eventlog $folder/log > $folder/events 2>/dev/null || fail "tpm2_eventlog cannot read the log"
grep -A 14 '^  sha256:$' $folder/events | grep -E '^ +[0-9]+ +:' > $folder/values
offset=0
for register in 0 1 2 3 4 5 6 7 8 9 12; do
    value=$(tail -c +$((offset + 1)) $folder/registers | head -c 32 | od -A n -v -t x1 | tr -d ' \n')
    offset=$((offset + 32))
    # A register that no event is about is zero, and not listed.
    case $register in
        8 | 9) grep -q "^ *$register " $folder/values && fail "register $register has events" ;;
        *) grep -q "^ *$register *: 0x$value\$" $folder/values || fail "register $register" ;;
    esac
done
exit 0
