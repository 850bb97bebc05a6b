#!/usr/bin/env bash
# Three nodes under strace, one write in flight, 100 times: for each write the entry's bytes go to the log, an fdatasync
# of the same file follows, and only then the reply, on a majority; followers acknowledge only after their own sync, and
# at least one is seen to; no thread that serves so much as opens a file of the session store, which is written
# meanwhile; sync_file_range is never called.
#   scripts/strace-durability.sh [--writes 100]
# Exits 0 when proven, 1 when not, 2 when strace is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v strace >/dev/null; then
    echo "strace is not installed (Debian: apt-get install strace); nothing was checked" >&2
    exit 2
fi
# shellcheck source=scripts/fault-binaries.sh
. scripts/fault-binaries.sh
fault_binaries quorate-strace-durability
exec "$BIN_DIR/quorate-strace-durability" "$@"
