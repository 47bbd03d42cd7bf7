# `make demo` and `make test` do their own set-up: see scripts/set-up.

# How many things run at once in `make test`: compilers, and tests that each start browsers.
JOBS ?= 2
# How long `make soak` keeps its sessions signed in.
PILOTLIGHT_SOAK_SECONDS ?= 300
# How long `make fuzz` goes on.
PILOTLIGHT_FUZZ_SECONDS ?= 300
# How long each test of `make chaos` goes on.
PILOTLIGHT_CHAOS_SECONDS ?= 60
# How long `make vanish` goes on.
PILOTLIGHT_VANISH_SECONDS ?= 180

.PHONY: help demo build web screenshots test fuzz soak chaos vanish fantoccini

help:
	@echo 'make demo    start the demo portal and the server, sign three windows in'
	@echo 'make build   build target/release/pilotlight'
	@echo 'make web     make the dashboard in web/dist, which the server embeds, from web/src'
	@echo 'make screenshots  take the pictures of the dashboard in docs/pictures, from the demo'
	@echo 'make test    everything that must hold before a change goes in'
	@echo 'make fuzz    let hostile clients loose on the gateway for $(PILOTLIGHT_FUZZ_SECONDS) s; PILOTLIGHT_FUZZ_SEED repeats a run'
	@echo 'make soak    keep 20 windows signed in for $(PILOTLIGHT_SOAK_SECONDS) s, and over an outage of 2 min'
	@echo 'make vanish  have 50 clients connect, work and be gone, for $(PILOTLIGHT_VANISH_SECONDS) s'
	@echo 'make fantoccini  run the own tests of that client of WebDriver against ours'
	@echo 'make chaos   kill servers, shims and browsers for $(PILOTLIGHT_CHAOS_SECONDS) s in each test; PILOTLIGHT_CHAOS_SEED repeats one'

demo:
	@scripts/set-up
	cargo build --release --locked --package pilotlight
	@cargo run --release --locked --quiet --package pilotlight -- demo

build:
	cargo build --release --locked --package pilotlight

web:
	@scripts/set-up tests
	cd web && npm run --silent build

screenshots:
	@scripts/set-up tests
	@scripts/screenshots

test: export CARGO_BUILD_JOBS = $(JOBS)
test:
	@scripts/set-up tests
	@scripts/check-lock-size
	@scripts/check-web
	cargo fmt --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo test --workspace --locked --no-fail-fast -- --test-threads=$(JOBS)
	@echo 'make test: all tests passed.'

fuzz: export PILOTLIGHT_FUZZ_SECONDS := $(PILOTLIGHT_FUZZ_SECONDS)
fuzz:
	cargo test --release --locked --package pilotlight-gateway --test fuzz -- --nocapture

soak: export PILOTLIGHT_SOAK_SECONDS := $(PILOTLIGHT_SOAK_SECONDS)
soak:
	@scripts/set-up tests
	cargo test --release --locked --package pilotlight --test e2e -- soak:: outage:: --nocapture --test-threads=1
	@echo 'make soak: all sessions stayed signed in.'

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
	@echo 'make vanish: nothing was left.'

fantoccini:
	@scripts/set-up tests
	scripts/fantoccini
