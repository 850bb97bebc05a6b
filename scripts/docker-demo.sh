#!/usr/bin/env bash
# The demo against containers: three nodes on a private Docker network; the leader's container is killed, then a
# leader is cut off its network while writes and reads are sent straight to it. Nothing acknowledged may be lost.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
# shellcheck source=scripts/lib/stand_in.sh
. "$root/scripts/lib/stand_in.sh"

usage() {
    cat <<'USAGE'
usage: scripts/docker-demo.sh [--public-images]

Builds the image of the Dockerfile, starts the three nodes of compose.yaml and runs the demo on them. Needs the Docker
Engine, and docker compose or docker-compose.

The base images are stand-ins made from this machine (Debian packages, its Rust toolchain, vendored crates), and the
build has no network. With --public-images they are the Dockerfile's defaults, which are pulled.

environment:
  SKIP_DOCKER=1                  on a machine without a Docker Engine: say that the demo was left out, and succeed
  BUILDER_IMAGE, RUNTIME_IMAGE   base images to use instead of stand-ins
USAGE
}

say() { printf '%s\n' "docker-demo: $*"; }
fail() {
    printf '%s\n' "docker-demo: $*" >&2
    exit 1
}

public_images=
case ${1:-} in
    '') ;;
    --public-images) public_images=1 ;;
    -h | --help | help)
        usage
        exit
        ;;
    *)
        usage >&2
        exit 2
        ;;
esac

if ! reason=$(docker info 2>&1 >/dev/null); then
    if [[ ${SKIP_DOCKER:-} == 1 ]]; then
        say "LEFT OUT: there is no Docker Engine here and SKIP_DOCKER=1 is set. Nothing was tested with containers."
        exit 0
    fi
    fail "no Docker Engine answers (${reason:-docker is missing}); with SKIP_DOCKER=1 this is left out"
fi
if docker compose version >/dev/null 2>&1; then
    compose=(docker compose)
elif command -v docker-compose >/dev/null; then
    compose=(docker-compose)
else
    fail "neither docker compose nor docker-compose answers"
fi

build_arguments=()
if [[ -n $public_images ]]; then
    say "base images: the public ones of the Dockerfile"
elif [[ -n ${BUILDER_IMAGE:-} && -n ${RUNTIME_IMAGE:-} ]]; then
    say "base images: $BUILDER_IMAGE and $RUNTIME_IMAGE"
    build_arguments=(--build-arg "BUILDER_IMAGE=$BUILDER_IMAGE" --build-arg "RUNTIME_IMAGE=$RUNTIME_IMAGE")
else
    command -v dpkg-query >/dev/null || fail "stand-ins need a Debian machine: use --public-images"
    tag=$(stand_in_tag "$root")
    builder=quorate-stand-in/builder:$tag runtime=quorate-stand-in/runtime:$tag
    if docker image inspect "$builder" "$runtime" >/dev/null 2>&1; then
        say "base images: $builder and $runtime, made earlier"
    else
        say "base images: making $builder and $runtime from this machine"
        stand_in_runtime "$runtime"
        stand_in_builder "$builder" "$root"
        stand_in_forget "$tag"
        say "base images: made after $SECONDS s"
    fi
    build_arguments=(--network none --build-arg "BUILDER_IMAGE=$builder" --build-arg "RUNTIME_IMAGE=$runtime")
fi

work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT

# A copy of what the build needs: an edit in between must not make two builds of different sources, and minutes each.
mkdir "$work/context"
tar --create --directory "$root" .dockerignore Dockerfile Cargo.toml Cargo.lock clippy.toml proto node client tests |
    tar --extract --directory "$work/context"
build() {
    docker build --quiet --build-arg WITH_DEMO=1 "${build_arguments[@]}" "$@" "$work/context"
}
say "building the image"
build --target build --tag quorate:docker-demo-build >/dev/null
build --tag quorate:docker-demo >/dev/null
say "built after $SECONDS s: $(docker image inspect --format '{{.Size}}' quorate:docker-demo) bytes"

project=quorate-docker-demo-$$
export QUORATE_IMAGE=quorate:docker-demo
export COMPOSE_PROJECT_NAME=$project
# Ports of their own: a cluster of scripts/cluster.sh or of compose.yaml may run beside this.
for id in 1 2 3; do
    export "QUORATE_PORT_$id=$((17100 + id))" "QUORATE_ADVERTISE_$id=127.0.0.1:$((17100 + id))"
done

source_container=
tear_down() {
    local code=$?
    [[ -z $source_container ]] || docker rm --force "$source_container" >/dev/null || code=1
    if ((code != 0)); then
        say "failed; the ends of the nodes' logs:" >&2
        "${compose[@]}" --file "$root/compose.yaml" logs --tail 15 >&2 2>&1 || true
    fi
    "${compose[@]}" --file "$root/compose.yaml" down --volumes --timeout 10 >"$work/down.log" 2>&1 ||
        { cat "$work/down.log" >&2 && code=1; }
    rm -rf -- "$work"
    exit "$code"
}
trap tear_down EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

"${compose[@]}" --file "$root/compose.yaml" up --detach --no-build >"$work/up.log" 2>&1 ||
    { cat "$work/up.log" >&2 && fail "the containers cannot be started"; }

# The fault program: on this machine, and inside each container to speak to a node that nobody else reaches.
source_container=$(docker create quorate:docker-demo-build)
docker cp "$source_container:/out/quorate-docker-demo" "$work/quorate-docker-demo" >/dev/null
docker rm "$source_container" >/dev/null
source_container=
nodes=() containers=()
for id in 1 2 3; do
    container=$("${compose[@]}" --file "$root/compose.yaml" ps --quiet "node-$id")
    docker cp "$work/quorate-docker-demo" "$container:/usr/local/bin/quorate-docker-demo" >/dev/null
    nodes+=(--node "$id=$container@127.0.0.1:$((17100 + id))")
    containers+=("$container")
done

# The image's own health check has to come true, not only the client port.
deadline=$((SECONDS + 60))
for container in "${containers[@]}"; do
    until [[ $(docker inspect --format '{{.State.Health.Status}}' "$container") == healthy ]]; do
        ((SECONDS < deadline)) || fail "container $container is not healthy after 60 s"
        sleep 0.2
    done
done
say "three containers are healthy"

"$work/quorate-docker-demo" run "${nodes[@]}" --network "${project}_cluster" \
    --program /usr/local/bin/quorate-docker-demo

# SIGTERM: every node has to end in order.
docker stop -t 25 "${containers[@]}" >/dev/null
for container in "${containers[@]}"; do
    code=$(docker inspect --format '{{.State.ExitCode}}' "$container")
    ((code == 0)) || fail "container $container ended with $code when it was stopped"
done
say "three containers stopped in order"
