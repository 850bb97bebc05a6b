# shellcheck shell=bash
# For the fault scripts: builds quorated and the harness in release, unless QUORATE_BIN_DIR holds them already.

# fault_binaries HARNESS_BINARY: sets BIN_DIR and exports QUORATED_BIN.
fault_binaries() {
    if [ -n "${QUORATE_BIN_DIR:-}" ]; then
        BIN_DIR=$QUORATE_BIN_DIR
    else
        BIN_DIR=${CARGO_TARGET_DIR:-target}/release
        echo "building quorated and $1 (release); the first time takes minutes" >&2
        cargo build --release --locked --quiet --package quorate-node --bin quorated --package quorate-tests --bin "$1"
    fi
    export QUORATED_BIN=${QUORATED_BIN:-$BIN_DIR/quorated}
    local binary
    for binary in "$QUORATED_BIN" "$BIN_DIR/$1"; do
        if [ ! -x "$binary" ]; then
            echo "$binary is missing: build it, or unset QUORATE_BIN_DIR and QUORATED_BIN" >&2
            return 1
        fi
    done
}
