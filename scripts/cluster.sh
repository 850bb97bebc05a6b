#!/usr/bin/env bash
# A local Quorate cluster of real processes, kept under .cluster/.
# Node N serves clients on 127.0.0.1:7100+N, peers on 7200+N and health on 7300+N.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
home=${QUORATE_CLUSTER_DIR:-$root/.cluster}

readonly nodes_default=3
readonly nodes_max=9
# How long a condition that should come true soon may take on a loaded machine.
readonly ready_seconds_max=60
readonly stop_seconds_max=25

usage() {
    cat <<'USAGE'
usage: scripts/cluster.sh COMMAND

  up [N]      start a cluster of N nodes (default 3); starts what is missing of one that exists
  down        stop every node in order (SIGTERM)
  status      processes, then what the nodes say of each other
  leader      print the leader's id
  kill ID     SIGKILL a node
  start ID    start a node; returns when it takes requests (while too few nodes run: when it has opened its data)
  pause ID    SIGSTOP a node
  resume ID   SIGCONT a node
  logs ID     print a node's log; more arguments go to tail, such as: logs 1 -f
  wipe        stop every node and delete what this script made in .cluster/

Node N: clients 127.0.0.1:710N, peers 127.0.0.1:720N, health 127.0.0.1:730N; ids are 1 to N.

environment:
  QUORATE_BIN_DIR      folder with quorated and quorate; without it a release build is made
  QUORATE_CLUSTER_DIR  where the cluster is kept (default: .cluster/ in the repository)
  QUORATED_*           settings for every node, see quorated --help
USAGE
}

say() { printf '%s\n' "$*"; }
fail() {
    printf 'cluster.sh: %s\n' "$*" >&2
    exit 1
}
misused() {
    printf 'cluster.sh: %s\n\n' "$1" >&2
    usage >&2
    exit 2
}

# --- programs

bin_dir() {
    if [[ -n ${QUORATE_BIN_DIR:-} ]]; then
        printf '%s\n' "$QUORATE_BIN_DIR"
    else
        printf '%s\n' "${CARGO_TARGET_DIR:-$root/target}/release"
    fi
}

build() {
    local bin
    bin=$(bin_dir)
    if [[ -z ${QUORATE_BIN_DIR:-} ]]; then
        command -v cargo >/dev/null || fail "cargo is missing: install Rust, or set QUORATE_BIN_DIR"
        (cd "$root" && cargo build --release --locked --package quorate-node --package quorate-cli)
    fi
    need_programs "$bin"
}

need_programs() {
    local program
    for program in quorated quorate; do
        [[ -x $1/$program ]] || fail "$1/$program is missing: run scripts/cluster.sh up, or set QUORATE_BIN_DIR"
    done
}

# --- layout: .cluster/nodes holds N and marks the folder as ours; .cluster/node-ID holds data/, log and pid

node_dir() { printf '%s/node-%s\n' "$home" "$1"; }
client_address() { printf '127.0.0.1:%d\n' $((7100 + $1)); }
peer_address() { printf '127.0.0.1:%d\n' $((7200 + $1)); }
admin_address() { printf '127.0.0.1:%d\n' $((7300 + $1)); }

# Whether $home is a folder that this script made.
is_ours() {
    local count
    [[ -f $home/nodes && -r $home/nodes ]] && count=$(<"$home/nodes") && [[ $count =~ ^[1-9]$ ]]
}

nodes() {
    is_ours || fail "there is no cluster in $home: run scripts/cluster.sh up"
    cat "$home/nodes"
}

is_empty() {
    local files
    files=$(ls -A -- "$1") && [[ -z $files ]]
}

# Checks that $1 is the id of a node of this cluster.
need_node() {
    local count
    count=$(nodes)
    if [[ ! $1 =~ ^[1-9]$ ]] || (($1 > count)); then
        fail "no node $1: this cluster has nodes 1 to $count"
    fi
}

members() {
    local id list=
    for ((id = 1; id <= $1; id++)); do
        list+="${list:+,}$id=$(peer_address "$id")"
    done
    printf '%s\n' "$list"
}

endpoints() {
    local id list=
    for ((id = 1; id <= $1; id++)); do
        list+="${list:+,}$(client_address "$id")"
    done
    printf '%s\n' "$list"
}

# --- processes

# Prints the state letter and the start time of process $1, from /proc; fails when it is gone.
process_facts() {
    local stat
    { stat=$(<"/proc/$1/stat"); } 2>/dev/null || return 1
    # The second field is the program's name in parentheses and may hold anything: read from behind it.
    local -a fields
    read -ra fields <<<"${stat##*) }"
    printf '%s %s\n' "${fields[0]}" "${fields[19]}"
}

# Prints the process id of node $1 if it runs. The pid file names the process by its start time and the boot too: one
# that was given the same number later is never taken for ours. The program's name would not do: for a moment after
# the start it is still the shell.
running() {
    local pid started boot state now file
    file=$(node_dir "$1")/pid
    [[ -r $file ]] || return 1
    read -r pid started boot <"$file" || return 1
    [[ $pid =~ ^[0-9]+$ && $started =~ ^[0-9]+$ && $boot == "$(</proc/sys/kernel/random/boot_id)" ]] || return 1
    read -r state now < <(process_facts "$pid") || return 1
    [[ $now == "$started" && $state != Z && $state != X ]] || return 1
    printf '%s\n' "$pid"
}

# Whether somebody listens at $1, host:port.
is_taken() { (exec 3<>"/dev/tcp/${1%:*}/${1##*:}") 2>/dev/null; }

# Checks that the ports of nodes "$@" that do not run are free: else a node would end at once, and what answers in its
# place would be somebody else's.
need_free_ports() {
    local id address
    for id in "$@"; do
        if running "$id" >/dev/null; then continue; fi
        for address in "$(client_address "$id")" "$(peer_address "$id")" "$(admin_address "$id")"; do
            ! is_taken "$address" ||
                fail "$address is in use by a process that is not of $home: end it first (another cluster?)"
        done
    done
}

# Waits until node $1 does not run; at most $2 seconds.
wait_gone() {
    local deadline=$((SECONDS + $2))
    while running "$1" >/dev/null; do
        ((SECONDS < deadline)) || return 1
        sleep 0.05
    done
}

start_node() {
    local id=$1 count=$2 bin dir pid state started
    bin=$(bin_dir)
    dir=$(node_dir "$id")
    if pid=$(running "$id"); then
        say "node $id runs already (pid $pid)"
        return
    fi
    mkdir -p "$dir"
    # A session of its own: Ctrl-C here is not for the nodes, and they outlive this terminal.
    env -u QUORATED_CONFIG -u QUORATED_ADVERTISE_CLIENT -u QUORATED_ADVERTISE_PEER -u QUORATED_ADVERTISE_ADMIN \
        setsid "$bin/quorated" --node-id "$id" --data-dir "$dir/data" --members "$(members "$count")" \
        --client-listen "$(client_address "$id")" --peer-listen "$(peer_address "$id")" \
        --admin-listen "$(admin_address "$id")" </dev/null >>"$dir/log" 2>&1 &
    pid=$!
    if read -r state started < <(process_facts "$pid"); then
        printf '%s %s %s\n' "$pid" "$started" "$(</proc/sys/kernel/random/boot_id)" >"$dir/pid"
        say "node $id started (pid $pid, state $state): clients $(client_address "$id"), log $dir/log"
    else
        died "$id"
    fi
}

died() {
    printf 'cluster.sh: node %s has ended; the end of its log, %s:\n' "$1" "$(node_dir "$1")/log" >&2
    tail -n 15 "$(node_dir "$1")/log" >&2 || true
    exit 1
}

# Asks the node at $1, an admin listener. The caller's QUORATED_* are for nodes: a bad one must not fail the question.
health() {
    local bin name
    local -a unset=()
    bin=$(bin_dir)
    for name in "${!QUORATED_@}"; do unset+=(--unset "$name"); done
    env "${unset[@]}" "$bin/quorated" health --admin "$1"
}

# Waits until node $1 takes requests; fails when it ends.
wait_ready() {
    local reason deadline=$((SECONDS + ready_seconds_max))
    until reason=$(health "$(admin_address "$1")" 2>&1); do
        running "$1" >/dev/null || died "$1"
        ((SECONDS < deadline)) ||
            fail "node $1 is not ready after $ready_seconds_max s: $reason; see $(node_dir "$1")/log"
        sleep 0.05
    done
    # What answered has to be ours.
    running "$1" >/dev/null || died "$1"
}

# Whether the admin listener at $1 says that its node lives. It says so once the data is open.
is_alive() (
    exec 3<>"/dev/tcp/${1%:*}/${1##*:}" || exit 1
    printf 'GET /livez HTTP/1.0\r\nHost: %s\r\n\r\n' "$1" >&3
    read -r -t 2 answer <&3 && [[ $answer == HTTP/1.*' 200 '* ]]
) 2>/dev/null

# Waits until node $1 has opened its data and serves; fails when it ends.
wait_alive() {
    local deadline=$((SECONDS + ready_seconds_max))
    until is_alive "$(admin_address "$1")"; do
        running "$1" >/dev/null || died "$1"
        ((SECONDS < deadline)) ||
            fail "node $1 does not answer after $ready_seconds_max s: see $(node_dir "$1")/log"
        sleep 0.05
    done
    running "$1" >/dev/null || died "$1"
}

# Whether so many of $1 nodes run, and are not paused, that they can have a leader.
is_quorum() {
    local id pid state able=0
    for ((id = 1; id <= $1; id++)); do
        pid=$(running "$id") || continue
        read -r state _ < <(process_facts "$pid") || continue
        [[ $state == T ]] || able=$((able + 1))
    done
    ((able > $1 / 2))
}

stop_node() {
    local id=$1 pid
    pid=$(running "$id") || return 0
    kill -TERM "$pid" 2>/dev/null || true
    # A paused process gets its SIGTERM only when it runs again.
    kill -CONT "$pid" 2>/dev/null || true
    if wait_gone "$id" "$stop_seconds_max"; then
        say "node $id stopped"
    else
        say "node $id did not stop within $stop_seconds_max s: SIGKILL"
        kill -KILL "$pid" 2>/dev/null || true
        wait_gone "$id" "$stop_seconds_max" || fail "node $id (pid $pid) does not end"
    fi
    rm -f "$(node_dir "$id")/pid"
}

# Sends signal $2 to node $1, which must run.
signal_node() {
    local pid
    pid=$(running "$1") || fail "node $1 does not run"
    kill "-$2" "$pid"
}

# --- commands

up() {
    local count=${1:-} id
    if is_ours; then
        [[ -z $count || $count == "$(nodes)" ]] ||
            fail "$home holds a cluster of $(nodes) nodes, not $count: run scripts/cluster.sh wipe first"
        count=$(nodes)
    elif [[ -e $home ]]; then
        [[ -d $home ]] || fail "$home is no folder: choose another QUORATE_CLUSTER_DIR"
        # What this script did not make it must not mix with its own files.
        is_empty "$home" || fail "$home holds files but no cluster: choose an empty or new QUORATE_CLUSTER_DIR"
    fi
    count=${count:-$nodes_default}
    [[ $count =~ ^[1-9]$ ]] || misused "N is a number from 1 to $nodes_max"
    build
    local -a ids
    mapfile -t ids < <(seq 1 "$count")
    need_free_ports "${ids[@]}"
    mkdir -p "$home"
    printf '%s\n' "$count" >"$home/nodes"
    for id in "${ids[@]}"; do start_node "$id" "$count"; done
    for id in "${ids[@]}"; do wait_ready "$id"; done
    # One may have ended while the others were waited for.
    for id in "${ids[@]}"; do running "$id" >/dev/null || died "$id"; done
    say "$count nodes are ready: QUORATE_ENDPOINTS=$(endpoints "$count")"
}

start() {
    local id=$1 count
    count=$(nodes)
    need_programs "$(bin_dir)"
    need_free_ports "$id"
    start_node "$id" "$count"
    if is_quorum "$count"; then
        wait_ready "$id"
        say "node $id is ready"
    else
        wait_alive "$id"
        say "node $id runs; it takes requests once more nodes do"
    fi
}

down() {
    local id count
    count=$(nodes)
    for ((id = 1; id <= count; id++)); do stop_node "$id" & done
    wait
    for ((id = 1; id <= count; id++)); do
        ! running "$id" >/dev/null || fail "node $id still runs"
    done
}

status() {
    local id pid count bin state
    count=$(nodes)
    bin=$(bin_dir)
    need_programs "$bin"
    for ((id = 1; id <= count; id++)); do
        if pid=$(running "$id"); then
            read -r state _ < <(process_facts "$pid") || state=
            [[ $state == T ]] && state=" (paused)" || state=
            say "node $id: pid $pid$state"
        else
            say "node $id: down"
        fi
    done
    "$bin/quorate" cluster status --endpoints "$(endpoints "$count")"
}

leader() {
    local count bin id
    count=$(nodes)
    bin=$(bin_dir)
    need_programs "$bin"
    # The table marks the leader's number with a star; without a leader or a quorum it has none or exits non-zero.
    id=$("$bin/quorate" cluster status --endpoints "$(endpoints "$count")" | awk '$1 ~ /^[0-9]+\*$/ { print $1 + 0 }') ||
        fail "there is no leader that a quorum follows: see scripts/cluster.sh status"
    [[ -n $id ]] || fail "there is no leader: see scripts/cluster.sh status"
    say "$id"
}

wipe() {
    local id
    if [[ ! -e $home ]]; then
        say "nothing to wipe: $home does not exist"
        return
    fi
    is_ours || fail "$home is no cluster of this script: delete it yourself"
    down
    # Only what this script made; the mark last, so that an interrupted wipe can be repeated.
    for ((id = 1; id <= nodes_max; id++)); do
        rm -rf -- "$(node_dir "$id")"
    done
    rm -f -- "$home/nodes"
    rmdir -- "$home" 2>/dev/null || fail "$home is kept: it holds files that this script did not make"
    say "$home deleted"
}

command=${1:-}
shift || true
case $command in
    up)
        (($# <= 1)) || misused "up takes at most one argument"
        up "$@"
        ;;
    down | status | leader | wipe)
        (($# == 0)) || misused "$command takes no argument"
        "$command"
        ;;
    kill | start | pause | resume)
        (($# == 1)) || misused "$command takes a node's id"
        need_node "$1"
        case $command in
            kill)
                signal_node "$1" KILL
                wait_gone "$1" "$stop_seconds_max" || fail "node $1 does not end"
                rm -f "$(node_dir "$1")/pid"
                say "node $1 killed"
                ;;
            start) start "$1" ;;
            pause) signal_node "$1" STOP && say "node $1 paused" ;;
            resume) signal_node "$1" CONT && say "node $1 resumed" ;;
        esac
        ;;
    logs)
        (($# >= 1)) || misused "logs takes a node's id"
        need_node "$1"
        log=$(node_dir "$1")/log
        [[ -r $log ]] || fail "node $1 has no log yet"
        if (($# > 1)); then tail "${@:2}" "$log"; else cat "$log"; fi
        ;;
    help | -h | --help) usage ;;
    '') misused "a command is missing" ;;
    *) misused "unknown command: $command" ;;
esac
