#!/usr/bin/env bash
# Records what many clients see of a few sessions while nodes are killed and paused, and checks each session's history for
# linearizability.
#   scripts/linearizability.sh [--histories 20] [--seed N] [--output json] [--help]
# Prints the seed, the faults, the operations and what was found. A history that is not linearizable, or that could not be
# judged, is written to a file under target/linearizability. Fails on any such, and when it did too little.
set -euo pipefail
cd "$(dirname "$0")/.."

# shellcheck source=scripts/fault-binaries.sh
. scripts/fault-binaries.sh
fault_binaries quorate-linearizability
exec "$BIN_DIR/quorate-linearizability" "$@"
