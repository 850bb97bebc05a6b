#!/usr/bin/env bash
# Shows that the fault tests can fail: a build with a bug on purpose must be found out; the same build with the bug switched
# off must pass the same tests.
#   scripts/planted-bugs.sh
# A log that acknowledges before its sync, and drops what was not synced:
# 1. quorate-storage's crash tests, on a simulated disk that drops what was not synced.
# 2. The kill loop on real processes, all nodes killed at once.
# Any node answers linearizable reads from its own memory:
# 3. The check of recorded histories.
# Exits 0 only if each fails with the bug and passes without.
set -euo pipefail
cd "$(dirname "$0")/.."

OUT=${CARGO_TARGET_DIR:-target}/planted-bugs
mkdir -p "$OUT"

echo "building with planted bugs" >&2
cargo test --locked --quiet --package quorate-storage --features planted-bugs --lib --no-run
cargo build --locked --quiet --package quorate-node --bin quorated --features planted-bugs
cp "${CARGO_TARGET_DIR:-target}/debug/quorated" "$OUT/quorated"
cargo build --locked --quiet --package quorate-tests --bin quorate-kill-loop --bin quorate-linearizability

# shellcheck disable=SC2317 # called by name in judge
crash_tests() {
    cargo test --locked --quiet --package quorate-storage --features planted-bugs --lib crash
}

# shellcheck disable=SC2317 # called by name in judge
kill_loop() {
    QUORATED_BIN=$OUT/quorated "${CARGO_TARGET_DIR:-target}/debug/quorate-kill-loop" --rounds 0 --all 3 --seed 1
}

# shellcheck disable=SC2317 # called by name in judge
histories() {
    # Unoptimised nodes have elections without cause by the timers of a local network.
    QUORATED_BIN=$OUT/quorated "${CARGO_TARGET_DIR:-target}/debug/quorate-linearizability" \
        --histories 3 --seed 1 --failures "$OUT/histories" \
        --node-argument=--timing=wan --node-argument=--log-prefill-bytes=0
}

failed=0
# judge BUG NAME COMMAND WHAT_THE_FAILURE_MUST_SAY: with the bug it must fail in the way expected, without it it must pass.
judge() {
    local bug=$1 name=$2 command=$3 expected=$4 log
    log=$OUT/$command
    if QUORATE_PLANTED_BUG=$bug "$command" >"$log.bug" 2>&1; then
        echo "NOT FOUND  $name: passed with $bug: see $log.bug"
        failed=1
    elif ! grep -Eq "$expected" "$log.bug"; then
        echo "UNCLEAR    $name: failed with $bug, but not by finding a violation: see $log.bug"
        failed=1
    else
        echo "found      $name: failed with $bug"
    fi
    if "$command" >"$log.clean" 2>&1; then
        echo "clean      $name: passed without it"
    else
        echo "NOT CLEAN  $name: failed without any bug: see $log.clean"
        failed=1
    fi
}

judge acknowledge-before-sync "the log's crash tests" crash_tests "acknowledged and is lost"
# Whatever became of an acknowledged write: gone, back from the dead, or another version.
judge acknowledge-before-sync "the kill loop" kill_loop "^(lost=[1-9]|lost=.* (revived|wrong)=[1-9])"
judge local-read "the check of histories" histories "^unknown=.* illegal=[1-9]"
exit "$failed"
