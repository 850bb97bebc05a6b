#!/usr/bin/env bash
# Shows that the crash tests can fail: a build whose log acknowledges before its sync, and drops what was not synced, must
# be found out; the same build with the bug switched off must pass the same tests.
#   scripts/planted-bugs.sh
# 1. quorate-storage's crash tests, on a simulated disk that drops what was not synced.
# 2. The kill loop on real processes, all nodes killed at once.
# Exits 0 only if each fails with the bug and passes without.
set -euo pipefail
cd "$(dirname "$0")/.."

BUG=acknowledge-before-sync
OUT=${CARGO_TARGET_DIR:-target}/planted-bugs
mkdir -p "$OUT"

echo "building with planted bugs" >&2
cargo test --locked --quiet --package quorate-storage --features planted-bugs --lib --no-run
cargo build --locked --quiet --package quorate-node --bin quorated --features quorate-storage/planted-bugs
cp "${CARGO_TARGET_DIR:-target}/debug/quorated" "$OUT/quorated"
cargo build --locked --quiet --package quorate-tests --bin quorate-kill-loop

# shellcheck disable=SC2317 # called by name in judge
crash_tests() {
    cargo test --locked --quiet --package quorate-storage --features planted-bugs --lib crash
}

# shellcheck disable=SC2317 # called by name in judge
kill_loop() {
    QUORATED_BIN=$OUT/quorated "${CARGO_TARGET_DIR:-target}/debug/quorate-kill-loop" --rounds 0 --all 3 --seed 1
}

failed=0
# judge NAME COMMAND WHAT_THE_FAILURE_MUST_SAY: with the bug it must fail in the way expected, without it it must pass.
judge() {
    local name=$1 command=$2 expected=$3 log
    log=$OUT/$command
    if QUORATE_PLANTED_BUG=$BUG "$command" >"$log.bug" 2>&1; then
        echo "NOT FOUND  $name: passed with $BUG: see $log.bug"
        failed=1
    elif ! grep -Eq "$expected" "$log.bug"; then
        echo "UNCLEAR    $name: failed with $BUG, but not by finding a violation: see $log.bug"
        failed=1
    else
        echo "found      $name: failed with $BUG"
    fi
    if "$command" >"$log.clean" 2>&1; then
        echo "clean      $name: passed without it"
    else
        echo "NOT CLEAN  $name: failed without any bug: see $log.clean"
        failed=1
    fi
}

judge "the log's crash tests" crash_tests "acknowledged and is lost"
# Whatever became of an acknowledged write: gone, back from the dead, or another version.
judge "the kill loop" kill_loop "^(lost=[1-9]|lost=.* (revived|wrong)=[1-9])"
exit "$failed"
