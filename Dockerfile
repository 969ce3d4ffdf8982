# syntax=docker/dockerfile:1
# One image for every role: `bugle`, and under the names of the roles (bugle-router, bugle-worker, bugle-recorder, bugle-api) the
# same program. Small (one program on distroless, with glibc and nothing else), without a shell, as a user without rights.
#
#   docker build --build-arg REVISION=$(git rev-parse HEAD) -t bugle .

FROM rust:1.94-bookworm AS build
WORKDIR /src
COPY . .
ARG REVISION=unknown
ENV BUGLE_REVISION=$REVISION
# The registry and what is compiled stay between builds: a change of Bugle's own code compiles Bugle alone.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,sharing=locked \
    cargo build --release --locked --bin bugle \
    && mkdir -p /out/bin /out/data \
    && strip -o /out/bin/bugle target/release/bugle \
    && for role in router worker recorder api; do ln -s bugle "/out/bin/bugle-$role"; done

FROM gcr.io/distroless/cc-debian12:nonroot
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Bugle" \
      org.opencontainers.image.description="Notifications from NATS JetStream events: routed, delivered, recorded, none lost" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="$REVISION"
COPY --from=build /out/bin/ /usr/local/bin/
COPY --from=build --chown=65532:65532 /out/data /var/lib/bugle
WORKDIR /var/lib/bugle
USER 65532:65532
# 8080: the API. 9091: health and metrics of every role.
EXPOSE 8080 9091
CMD ["bugle", "--help"]
