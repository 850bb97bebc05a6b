#!/usr/bin/env bash
# Changes the state machine's code in every way that cargo-mutants knows, one change at a time, and runs its tests on each:
# a change that no test notices is a promise without a test, or makes no difference.
#   scripts/mutants.sh [--jobs N] [--shard 0/8] [--list] [cargo-mutants options]
# By hand: 900 builds take two hours on two idle cores. A run that was ended goes on with --iterate. Results are under
# target/mutants.out; fails when any change survives.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly mutants_version=27.1.0
tools=${CARGO_TARGET_DIR:-target}/tools
if [[ $("$tools/bin/cargo-mutants" mutants --version 2>/dev/null) != "cargo-mutants $mutants_version" ]]; then
    echo "installing cargo-mutants $mutants_version under $tools" >&2
    CARGO_TARGET_DIR=$tools/build cargo install --quiet --locked --root "$tools" "cargo-mutants@$mutants_version"
    rm -rf -- "$tools/build"
fi
# The least number of sequences that still meets every refusal a hundred times; nobody reads the shrunk failures.
export QUORATE_MODEL_CASES=${QUORATE_MODEL_CASES:-2000} PROPTEST_MAX_SHRINK_ITERS=0
exec "$tools/bin/cargo-mutants" mutants --package quorate-state --profile mutants --timeout 180 --build-timeout 600 \
    --output target --colors never "$@" -- --lib --tests
