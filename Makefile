# `make demo` and `make test` do their own set-up: see scripts/set-up.

# Number of parallel jobs in `make test`: compilers, and tests that each start browsers.
JOBS ?= 2
# Duration of `make soak`.
PILOTLIGHT_SOAK_SECONDS ?= 300
# Duration of `make fuzz`, for all targets together.
PILOTLIGHT_FUZZ_SECONDS ?= 3600
# Duration of each test of `make chaos`.
PILOTLIGHT_CHAOS_SECONDS ?= 60
# Duration of `make vanish`.
PILOTLIGHT_VANISH_SECONDS ?= 180
# Duration of the attack in `make siege`, and of the time without one before it.
PILOTLIGHT_SIEGE_SECONDS ?= 600
# Duration of `make counting`.
PILOTLIGHT_COUNTING_SECONDS ?= 3600

.PHONY: help demo build web screenshots check test notice fuzz soak counting chaos vanish siege fantoccini

help:
	@echo 'make demo    start the demo portal and the server, and sign in three windows'
	@echo 'make build   build target/release/pilotlight'
	@echo 'make web     build the dashboard in web/dist, which the server embeds, from web/src'
	@echo 'make screenshots  take the screenshots of the dashboard in docs/pictures, from the demo'
	@echo 'make test    run everything that must pass before a change is merged'
	@echo 'make notice  generate NOTICE: the third-party code in the binary, and its licences'
	@echo 'make check   the part of `make test` without browsers: format, lints, documentation, structure, dependencies'
	@echo 'make fuzz    run all fuzz targets, for $(PILOTLIGHT_FUZZ_SECONDS) s in total'
	@echo 'make soak    keep 20 windows signed in for $(PILOTLIGHT_SOAK_SECONDS) s, and through an outage of 2 min'
	@echo 'make counting  count for $(PILOTLIGHT_COUNTING_SECONDS) s the requests to a portal that no client requested'
	@echo 'make vanish  have 50 clients connect, work and disappear, for $(PILOTLIGHT_VANISH_SECONDS) s'
	@echo 'make siege   run a hostile client, page and neighbour next to 20 sessions for $(PILOTLIGHT_SIEGE_SECONDS) s'
	@echo 'make fantoccini  run the tests of the WebDriver client fantoccini against the server'
	@echo 'make chaos   kill servers, shims and browsers for $(PILOTLIGHT_CHAOS_SECONDS) s in each test; PILOTLIGHT_CHAOS_SEED repeats one'

demo:
	@scripts/set-up
	cargo build --release --locked --package pilotlight
	@cargo run --release --locked --quiet --package pilotlight -- demo

build:
	cargo build --release --locked --package pilotlight

web:
	@scripts/set-up tests
	@scripts/api-types
	cd web && npm run --silent build

screenshots:
	@scripts/set-up tests
	@scripts/screenshots

check: export CARGO_BUILD_JOBS = $(JOBS)
check: export RUSTDOCFLAGS = -D warnings -A rustdoc::private-intra-doc-links
check:
	@scripts/set-up check
	@scripts/check-lock-size
	@scripts/check-cycles --self-test
	@scripts/check-cycles
	@scripts/check-dependencies --self-test
	@scripts/check-dependencies
	@scripts/check-words --self-test
	@scripts/check-words
	@scripts/check-named-tests --self-test
	@scripts/check-named-tests
	@scripts/check-web
	@scripts/third-party --check
	shellcheck --severity=warning .ci/run $$(grep -lE '^#!.*(bash|sh)$$' scripts/*)
	target/tools/bin/cargo-machete --with-metadata crates
	target/tools/bin/cargo-deny --locked --log-level error check licenses bans sources
	cargo fmt --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo doc --workspace --no-deps --document-private-items --locked --quiet

test: export CARGO_BUILD_JOBS = $(JOBS)
test: check
	@scripts/run-tests --self-test
	@scripts/run-tests $(JOBS)
	@echo 'make test: all tests passed.'

notice:
	scripts/third-party

fuzz: export PILOTLIGHT_FUZZ_SECONDS := $(PILOTLIGHT_FUZZ_SECONDS)
fuzz:
	@scripts/set-up fuzz
	@scripts/fuzz

soak: export PILOTLIGHT_SOAK_SECONDS := $(PILOTLIGHT_SOAK_SECONDS)
soak:
	@scripts/set-up tests
	cargo test --release --locked --package pilotlight --test e2e -- soak:: outage:: --nocapture --test-threads=1
	@echo 'make soak: all sessions stayed signed in.'

counting: export PILOTLIGHT_COUNTING_SECONDS := $(PILOTLIGHT_COUNTING_SECONDS)
counting:
	@scripts/set-up tests
	cargo test --release --locked --package pilotlight --test e2e counting:: -- --nocapture
	@echo 'make counting: apart from GETs, the portal received no request that no client had made.'

chaos: export PILOTLIGHT_CHAOS_SECONDS := $(PILOTLIGHT_CHAOS_SECONDS)
chaos:
	@scripts/set-up tests
	cargo test --release --locked --package pilotlight --test e2e -- \
		chaos:: restart:: hibernate:: --include-ignored --nocapture --test-threads=1
	@echo 'make chaos: no session was lost.'

vanish: export PILOTLIGHT_VANISH_SECONDS := $(PILOTLIGHT_VANISH_SECONDS)
vanish:
	@scripts/set-up tests
	cargo test --release --locked --package pilotlight --test e2e vanish:: -- --nocapture
	@echo 'make vanish: nothing was left behind.'

siege: export PILOTLIGHT_SIEGE_SECONDS := $(PILOTLIGHT_SIEGE_SECONDS)
siege:
	@scripts/set-up tests
	cargo test --release --locked --package pilotlight --test e2e siege:: -- --nocapture
	@echo 'make siege: no session lost anything.'

fantoccini:
	@scripts/set-up tests
	scripts/fantoccini
