#!/usr/bin/env bash
# A stock gRPC client, grpcio from PyPI, creates and reads a session through a follower of a local cluster, and checks
# what errors tell. Needs python3 with venv; installs grpcio under target/tools. Starts a cluster of its own with
# scripts/cluster.sh, on that script's ports, and ends it.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

tools=$(mkdir -p "${CARGO_TARGET_DIR:-target}/tools" && cd "${CARGO_TARGET_DIR:-target}/tools" && pwd -P)
venv=$tools/grpc-client
wanted=scripts/lib/grpc-client-requirements.txt
if ! cmp --silent "$wanted" "$venv/installed.txt"; then
    rm -rf -- "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --requirement "$wanted"
    cp "$wanted" "$venv/installed.txt"
fi

QUORATE_CLUSTER_DIR=$(mktemp -d)/cluster
export QUORATE_CLUSTER_DIR
trap 'scripts/cluster.sh wipe >/dev/null; rm -rf -- "${QUORATE_CLUSTER_DIR%/cluster}"' EXIT
scripts/cluster.sh up
"$venv/bin/python" scripts/lib/grpc_client.py 127.0.0.1:7101 127.0.0.1:7102 127.0.0.1:7103
