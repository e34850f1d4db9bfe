# What people type. CI types the same (.ci/run).
.PHONY: test bench package fuzz

# Installs what is missing, then runs everything.
test:
	scripts/install-test-tools
	cargo build --workspace --locked
	cargo test --workspace --locked
	scripts/test-package

# Prints every figure beside its limit.
bench:
	cargo bench --workspace

# Fuzzes coverage-guided, SECONDS for each target: `make fuzz`, or `make fuzz TARGET=kraken_decode SECONDS=600`.
SECONDS ?= 60
fuzz:
	scripts/fuzz $(SECONDS) $(TARGET)

# Builds the packages that `cargo publish` would upload.
package:
	cargo package --workspace --locked
