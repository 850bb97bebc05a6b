#!/usr/bin/env bash
# The gate: what every change must pass, here and in CI. Prints each stage and its minutes.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

readonly stages=(fmt clippy tests docs deny shell)
# Built without optimisation: a minute instead of ten, and quick enough for what it does here.
readonly deny_version=0.20.2

usage() {
    cat <<USAGE
usage: scripts/check.sh [STAGE ...]

  fmt      cargo fmt --check
  clippy   cargo clippy on everything, warnings are errors
  tests    cargo test --workspace: unit, integration and cluster tests, examples, documentation tests
  docs     cargo doc, warnings are errors
  deny     cargo-deny $deny_version: bans, licences, sources of all dependencies; installed under target/tools if missing.
           Advisories are not checked: their database comes over the network. Run cargo deny check advisories by hand.
  shell    shellcheck on every script; left out, aloud, where shellcheck is not installed

Without a STAGE all of them run, in this order.
USAGE
}

stage_fmt() { cargo fmt --all --check; }

stage_clippy() { cargo clippy --workspace --all-targets --locked -- -D warnings; }

stage_tests() { cargo test --workspace --locked --no-fail-fast; }

stage_docs() { RUSTDOCFLAGS="${RUSTDOCFLAGS:-} -D warnings" cargo doc --workspace --no-deps --locked; }

stage_deny() {
    local tools
    tools=${CARGO_TARGET_DIR:-target}/tools
    if [[ $("$tools/bin/cargo-deny" --version 2>/dev/null) != "cargo-deny $deny_version" ]]; then
        echo "installing cargo-deny $deny_version under $tools"
        CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
            CARGO_PROFILE_RELEASE_DEBUG=0 CARGO_TARGET_DIR=$tools/build \
            cargo install --quiet --locked --no-default-features --root "$tools" "cargo-deny@$deny_version"
        rm -rf -- "$tools/build"
    fi
    "$tools/bin/cargo-deny" --locked check bans licenses sources
    echo "LEFT OUT: advisories were not checked: their database comes over the network"
}

stage_shell() {
    if command -v shellcheck >/dev/null; then
        shellcheck --external-sources scripts/*.sh scripts/lib/*.sh .ci/run
    else
        echo "LEFT OUT: shellcheck is not installed"
    fi
}

case ${1:-} in
    -h | --help | help)
        usage
        exit
        ;;
esac
chosen=("$@")
((${#chosen[@]})) || chosen=("${stages[@]}")
for stage in "${chosen[@]}"; do
    if ! declare -F "stage_$stage" >/dev/null; then
        printf 'check.sh: unknown stage: %s\n\n' "$stage" >&2
        usage >&2
        exit 2
    fi
done

for stage in "${chosen[@]}"; do
    began=$SECONDS
    printf '== check %s\n' "$stage"
    # A function called in a condition would run on after a failed command: a shell of its own does not.
    set +e
    (
        set -e
        "stage_$stage"
    )
    code=$?
    set -e
    took=$((SECONDS - began))
    if ((code != 0)); then
        printf '== check %s: FAILED after %d.%d min\n' "$stage" $((took / 60)) $((took % 60 / 6)) >&2
        exit 1
    fi
    printf '== check %s: ok, %d.%d min\n' "$stage" $((took / 60)) $((took % 60 / 6))
done
