#!/usr/bin/env bash
# The demo: three nodes on this machine, sixteen writers, kill -9 of the leader, everything acknowledged still there.
#   scripts/demo.sh              ends with acknowledged=N lost=L failover_ms=M digests=equal|different
#   scripts/demo.sh --sabotage   changes one record behind Raft's back: must end with digests=different, and fail
#   scripts/demo.sh --help       more options
# Needs the Rust toolchain and a C compiler, nothing else. Ends what it started, also on Ctrl-C.
set -euo pipefail
cd "$(dirname "$0")/.."

# shellcheck source=scripts/fault-binaries.sh
. scripts/fault-binaries.sh
fault_binaries quorate-demo
exec "$BIN_DIR/quorate-demo" "$@"
