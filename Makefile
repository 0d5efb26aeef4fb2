# The two commands of the README are `make demo` and `make test`; both set the machine up first.
.PHONY: demo test setup lint build bench guard install

export CARGO_TERM_COLOR ?= auto

setup:
	@scripts/setup

build: setup
	cargo build --locked -p atoll-cli -p atoll-demo

# Brings up examples/two-tier.yaml and walks through its checks with real traffic.
demo: build
	@target/debug/atoll-demo

lint: setup
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets --quiet -- -D warnings

# Everything: formatting, lints, unit, property and end-to-end tests (real packets, as root and rootless).
test: lint
	scripts/test

# Benchmarks: functions by criterion, whole paths side by side with their peers (bench/run --help).
bench: build
	@scripts/setup --bench
	cargo bench --locked --workspace
	bench/run --svg target/bench.svg --json target/bench.json

# The instructions that the engine's functions take, held against what is recorded (bench/counts --help).
guard: setup
	@scripts/setup --bench
	@bench/counts

install: setup
	cargo install --locked --path crates/cli
