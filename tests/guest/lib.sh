# What the tests have in common. A test sources it: `. /tests/lib.sh`.

# Ends the test as failed.
fail() {
    echo "failed: $*"
    exit 1
}

# Ends the test as skipped. docs/tests.md must hold the reason, word for word.
skip() {
    echo "$*" > "$ADYTON_SKIP"
    exit 77
}

# The pool's ranges in /proc/iomem, as "start end" in hexadecimal. dax_hmem and device_dax put
# children of the same range below "Soft Reserved", which are left out.
pool_ranges() {
    sed -n 's/^ *\([0-9a-f]*\)-\([0-9a-f]*\) : Soft Reserved$/\1 \2/p' /proc/iomem
}
