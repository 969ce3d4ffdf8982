# make run starts Bugle on this machine, make test tests it. Each target does the set-up that it needs.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help run build test lint audit bench chaos fuzz setup

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

run: ## build and start everything on this machine (config/quickstart.toml)
	@scripts/check-tools.sh
	@scripts/nats-server.sh >/dev/null
	@cargo build --release --locked --bin bugle
	@BUGLE__NATS__EMBEDDED__BINARY=$$(scripts/nats-server.sh) exec target/release/bugle run --config config/quickstart.toml

build: ## build every program in release mode
	@scripts/check-tools.sh
	@cargo build --release --locked --bins

setup: ## obtain what the tests need
	@scripts/check-tools.sh
	@scripts/nats-server.sh >/dev/null
	@scripts/test-tools.sh >/dev/null
	@scripts/node-tools.sh >/dev/null || [ -z "$${CI:-}" ]
	@scripts/chromium.sh >/dev/null || [ -z "$${CI:-}" ]
	@scripts/prometheus.sh >/dev/null || [ -z "$${CI:-}" ]
	@scripts/postgres.sh >/dev/null || [ "$${BUGLE_TEST_POSTGRES:-}" != required ]

test: setup ## run every test (SQLite always, Postgres where it can be had)
	@export BUGLE_NATS_SERVER=$$(scripts/nats-server.sh) BUGLE_TEST_PYTHON=$$(scripts/test-tools.sh); \
	if tools=$$(scripts/node-tools.sh); then export BUGLE_TEST_NODE_TOOLS=$$tools; fi; \
	if browser=$$(scripts/chromium.sh); then export BUGLE_TEST_CHROMIUM=$$browser; fi; \
	if programs=$$(scripts/earlier-release.sh); then export BUGLE_TEST_EARLIER=$$programs; fi; \
	if programs=$$(scripts/prometheus.sh); then export BUGLE_TEST_PROMETHEUS=$$programs; fi; \
	if programs=$$(scripts/postgres.sh 2>/dev/null); then export BUGLE_TEST_POSTGRES_BIN=$$programs; \
	else echo "make test: no PostgreSQL can be had here: only SQLite is tested."; fi; \
	RUST_TEST_THREADS=$${RUST_TEST_THREADS:-4} cargo test --locked

lint: ## formatting and lints, warnings denied
	@scripts/check-tools.sh
	@cargo fmt --all --check
	@cargo clippy --workspace --all-targets --locked -- -D warnings
	@scripts/audit.py
	@if command -v shellcheck >/dev/null; then shellcheck scripts/*.sh .ci/run; fi

audit: ## licences of all crates, and what is there in several versions
	@scripts/audit.py --list

bench: ## measure speed beside its limits (ONLY="router chain" for some sections)
	@scripts/check-tools.sh
	@export BUGLE_NATS_SERVER=$$(scripts/nats-server.sh); \
	if programs=$$(scripts/postgres.sh 2>/dev/null); then export BUGLE_TEST_POSTGRES_BIN=$$programs; fi; \
	cargo bench --locked --bench fleet -- $(ONLY)

chaos: setup ## break a fleet on purpose and count (MINUTES=20 SEED=1 NODES=1, or 3 for a cluster)
	@export BUGLE_NATS_SERVER=$$(scripts/nats-server.sh) BUGLE_TEST_POSTGRES_BIN=$$(scripts/postgres.sh) BUGLE_TEST_POSTGRES=required; \
	export CHAOS_MINUTES="$(MINUTES)" CHAOS_SEED="$(SEED)" CHAOS_NODES="$(NODES)"; \
	cargo test --release --locked --test it -- --ignored --exact chaos::long --nocapture

fuzz: ## make up input for everything that reads strangers' words (CASES=1000000 each)
	@scripts/check-tools.sh
	@PROPTEST_CASES=$${CASES:-1000000} cargo test --release --locked --test it -- fuzz::
