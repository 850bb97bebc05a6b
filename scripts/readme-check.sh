#!/usr/bin/env bash
# What README tells people to type works: its block of commands under "A cluster" as it stands there, every command of
# scripts/cluster.sh, the command lines' help and completions, and the example for Rust, which must be README's own.
#   scripts/readme-check.sh
# Starts clusters with scripts/cluster.sh, on that script's ports, in a folder of its own, and ends them. Builds what is
# missing, unless QUORATE_BIN_DIR holds quorated and quorate.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)

say() { printf 'readme-check: %s\n' "$*"; }
fail() {
    printf 'readme-check: %s\n' "$*" >&2
    exit 1
}

bin=${QUORATE_BIN_DIR:-${CARGO_TARGET_DIR:-$root/target}/release}
if [[ -z ${QUORATE_BIN_DIR:-} ]]; then
    (cd "$root" && cargo build --release --locked --quiet --package quorate-node --package quorate-cli)
fi
bin=$(cd -- "$bin" && pwd -P)
export QUORATE_BIN_DIR=$bin
[[ -x $bin/quorated && -x $bin/quorate ]] || fail "$bin does not hold quorated and quorate"

work=$(mktemp -d)
export QUORATE_CLUSTER_DIR=$work/cluster
cluster() { "$root/scripts/cluster.sh" "$@"; }
tear_down() {
    local code=$?
    if [[ -e $QUORATE_CLUSTER_DIR ]]; then
        if ((code != 0)); then tail -n 10 "$QUORATE_CLUSTER_DIR"/node-*/log >&2 || true; fi
        cluster wipe >/dev/null || code=1
    fi
    rm -rf -- "$work"
    exit "$code"
}
trap tear_down EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Prints README's blocks of language $2 under the heading $1.
blocks() {
    awk -v heading="$1" -v fence="\`\`\`$2" '
        /^#/ && !inside { here = ($0 == "## " heading || $0 == "### " heading) }
        /^```/ && inside { inside = 0; next }
        here && $0 == fence { inside = 1; next }
        inside && here' "$root/README.md"
}

# expect WHAT PATTERN COMMAND...: the command succeeds and prints the pattern, an extended regular expression.
expect() {
    local what=$1 pattern=$2 said
    shift 2
    said=$("$@" 2>&1) || fail "$what: failed: $* said: $said"
    grep -Eq -- "$pattern" <<<"$said" || fail "$what: $* did not say $pattern, but: $said"
    say "ok: $what"
}

# README's block, in a folder that looks like the repository: what it saves does not land there.
readme_block() {
    local said
    mkdir -p "$work/repository/target"
    ln -s "$root/scripts" "$work/repository/scripts"
    ln -s "$bin" "$work/repository/target/release"
    blocks "A cluster" sh >"$work/block.sh"
    for command in "cluster.sh up" "cluster status" "session create" "session get" "cluster.sh kill" "cluster.sh wipe"; do
        grep -qF -- "$command" "$work/block.sh" || fail "README's block under \"A cluster\" has no \"$command\""
    done
    (cd "$work/repository" && bash -euo pipefail "$work/block.sh") >"$work/block.out" 2>&1 ||
        { cat "$work/block.out" >&2 && fail "README's block under \"A cluster\" failed"; }
    said=$(<"$work/block.out")
    # Created, then read before and after the leader died.
    (($(grep -cE '(^|[^[:alnum:]])alice([^[:alnum:]]|$)' <<<"$said") >= 2)) ||
        fail "README's block did not show alice's session twice, but: $said"
    grep -qE 'quorum \(3 of 3' <<<"$said" || fail "README's block did not show three nodes, but: $said"
    [[ ! -e $QUORATE_CLUSTER_DIR ]] || fail "README's block left $QUORATE_CLUSTER_DIR behind"
    say "ok: README's block under \"A cluster\", $(grep -c . "$work/block.sh") lines"
}

# README's block on locks and the like, on the cluster that is up.
locks_block() {
    blocks "Locks, users, events, namespaces" sh >"$work/locks.sh"
    for command in "session lock" "session ls" "session watch" "session revoke" "ns create" "ns rm"; do
        grep -qF -- "$command" "$work/locks.sh" || fail "README's block on locks has no \"$command\""
    done
    (cd "$work" && PATH=$bin:$PATH bash -euo pipefail "$work/locks.sh") >"$work/locks.out" 2>&1 ||
        { cat "$work/locks.out" >&2 && fail "README's block on locks failed"; }
    for pattern in 'mine, by token [0-9]+' '^sessions ended +1$' '^shop '; do
        grep -Eq -- "$pattern" "$work/locks.out" || fail "README's block on locks did not say $pattern"
    done
    say "ok: README's block on locks, $(grep -c . "$work/locks.sh") lines"
}

# README's block of measurements, on the cluster that is up.
measure_block() {
    blocks "Measure it" sh >"$work/measure.sh"
    for command in "bench --workload write" "bench --workload lock"; do
        grep -qF -- "$command" "$work/measure.sh" || fail "README's block of measurements has no \"$command\""
    done
    (cd "$work" && PATH=$bin:$PATH bash -euo pipefail "$work/measure.sh") >"$work/measure.out" 2>&1 ||
        { cat "$work/measure.out" >&2 && fail "README's block of measurements failed"; }
    for pattern in '^errors +0$' '^hand-overs +[0-9]+, in order, never two holders$'; do
        grep -Eq -- "$pattern" "$work/measure.out" || fail "README's block of measurements did not say $pattern"
    done
    say "ok: README's block of measurements, $(grep -c . "$work/measure.sh") lines"
}

# Every command of scripts/cluster.sh, around one session.
every_command() {
    local quorate=$bin/quorate leader id=$work/bob.id
    QUORATE_ENDPOINTS=127.0.0.1:7101,127.0.0.1:7102,127.0.0.1:7103
    export QUORATE_ENDPOINTS
    expect "up" "^3 nodes are ready" cluster up
    expect "up again finds it running" "^3 nodes are ready" cluster up
    expect "create" . "$quorate" session create user=bob --save-id "$id"
    expect "get" bob "$quorate" session get --id-file "$id"
    leader=$(cluster leader)
    expect "kill of the leader" "^node $leader killed" cluster kill "$leader"
    expect "get without it" bob "$quorate" session get --id-file "$id"
    expect "status without it" "^node $leader: down" cluster status
    expect "start" "^node $leader is ready" cluster start "$leader"
    expect "status with all" "quorum \(3 of 3" cluster status
    expect "pause" "^node $leader paused" cluster pause "$leader"
    expect "status of a paused node" "^node $leader: pid [0-9]+ \(paused\)" cluster status
    expect "resume" "^node $leader resumed" cluster resume "$leader"
    expect "logs" "recovered" cluster logs "$leader"
    expect "logs, the end" "quorate_node" cluster logs "$leader" -n 3
    expect "README's example for Rust" "^deleted +and gone" quickstart
    locks_block
    measure_block
    expect "down" "^node $leader stopped" cluster down
    expect "up with what is there" "^3 nodes are ready" cluster up
    expect "get after a restart of all" bob "$quorate" session get --id-file "$id"
    expect "wipe" "deleted$" cluster wipe
    [[ ! -e $QUORATE_CLUSTER_DIR ]] || fail "wipe left $QUORATE_CLUSTER_DIR behind"
}

quickstart() {
    (cd "$root" && cargo run --locked --quiet --package quorate-client --example quickstart)
}

# Before any node runs: it may take a while.
(cd "$root" && cargo build --locked --quiet --package quorate-client --example quickstart)
blocks "Use it from Rust" rust | cmp --silent - "$root/client/examples/quickstart.rs" ||
    fail "README's example for Rust is not client/examples/quickstart.rs"
expect "quorate --help" "cluster status" "$bin/quorate" --help
expect "quorated --help" "--client-listen" "$bin/quorated" --help
expect "quorated config" "7101" "$bin/quorated" config
for shell in bash zsh fish; do
    expect "completions for $shell" quorate "$bin/quorate" completions "$shell"
done
readme_block
every_command
say "all of README's commands work"
