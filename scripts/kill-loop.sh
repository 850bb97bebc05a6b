#!/usr/bin/env bash
# kill -9 of one node, every third time the leader, and of all nodes at once, under load; every acknowledged write is
# checked after each.
#   scripts/kill-loop.sh [--rounds 50] [--all 10] [--writers 16] [--seed N]
# Prints the seed, the faults, the operations and the violations. Fails on any violation, and when it did too little.
set -euo pipefail
cd "$(dirname "$0")/.."

# shellcheck source=scripts/fault-binaries.sh
. scripts/fault-binaries.sh
fault_binaries quorate-kill-loop
exec "$BIN_DIR/quorate-kill-loop" "$@"
