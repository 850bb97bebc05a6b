# Quorate in a container: the node `quorated` and the command line `quorate`.
#
#   docker build --tag quorate:local .
#
# The base images are arguments: any image with this Rust version and a C compiler can build, any image of the same
# C library with groupadd and useradd can run.
ARG BUILDER_IMAGE=rust:1.95-bookworm
ARG RUNTIME_IMAGE=debian:bookworm-slim

FROM ${BUILDER_IMAGE} AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock clippy.toml ./
COPY proto proto
COPY node node
COPY client client
COPY tests tests
RUN cargo build --release --locked --package quorate-node --package quorate-cli \
    && mkdir /out \
    && cp target/release/quorated target/release/quorate /out/
# scripts/docker-demo.sh takes its fault program from this stage; nobody else needs it. A build of its own, after the
# copy above, so that it cannot change what is shipped.
ARG WITH_DEMO=
RUN if [ -n "${WITH_DEMO}" ]; then \
        cargo build --release --locked --package quorate-tests --bin quorate-docker-demo \
        && cp target/release/quorate-docker-demo /out/; \
    fi

FROM ${RUNTIME_IMAGE} AS runtime
RUN groupadd --gid 10001 quorate \
    && useradd --uid 10001 --gid quorate --no-create-home --home-dir /var/lib/quorate \
        --shell /bin/false quorate \
    && mkdir --parents /var/lib/quorate \
    && chown quorate:quorate /var/lib/quorate
COPY --from=build /out/quorated /out/quorate /usr/local/bin/
USER quorate
WORKDIR /var/lib/quorate
# Clients and peers come from other machines, so a container serves both on every interface. That is refused without
# TLS unless QUORATED_INSECURE=true says so aloud: do that on a private network only. Health stays inside.
ENV QUORATED_DATA_DIR=/var/lib/quorate \
    QUORATED_CLIENT_LISTEN=0.0.0.0:7101 \
    QUORATED_PEER_LISTEN=0.0.0.0:7201 \
    QUORATED_ADMIN_LISTEN=127.0.0.1:7301
VOLUME /var/lib/quorate
EXPOSE 7101 7201
HEALTHCHECK --interval=5s --timeout=4s --start-period=30s --retries=3 CMD ["quorated", "health"]
ENTRYPOINT ["quorated"]
