#!/usr/bin/env bash
# Very many sessions that expire in the same second, under an open-loop load of writes at half of what the cluster can do:
# what it costs those writes, and that every session lives to its deadline and no longer.
#   scripts/expiry-storm.sh [--sessions 100000] [--window-seconds 20] [--output json] [--help]
# Fails when a session expired early, late or not at all, when replicas differ, and when it did too little; latency is
# told, not judged. `--sessions 1000000` is the full size.
set -euo pipefail
cd "$(dirname "$0")/.."

# shellcheck source=scripts/fault-binaries.sh
. scripts/fault-binaries.sh
fault_binaries quorate-expiry-storm
exec "$BIN_DIR/quorate-expiry-storm" "$@"
