# What people type. CI types the same (.ci/run).
.PHONY: test bench package fuzz
SHELL := /bin/bash
# Runs a command and says how long it took.
timed = began=$$SECONDS; $(1) && echo "-- $(1): $$((SECONDS - began))s"

# Seconds that all fuzz targets have together in `make test`, beside what their build takes.
FUZZ_WITHIN ?= 300

# Installs what is missing, then runs everything.
test:
	@$(call timed,scripts/install-test-tools)
	@$(call timed,cargo build --workspace --locked)
	@$(call timed,cargo test --workspace --locked)
	@$(call timed,scripts/fuzz within $(FUZZ_WITHIN))
	@$(call timed,scripts/test-package)

# Prints every figure beside its limit.
bench:
	cargo bench --workspace
	cargo build --workspace --locked --release
	target/release/ssmd bench

# Fuzzes coverage-guided, SECONDS for each target: `make fuzz`, or `make fuzz TARGET=kraken_decode SECONDS=600`.
SECONDS ?= 60
fuzz:
	scripts/fuzz $(SECONDS) $(TARGET)

# Builds the packages that `cargo publish` would upload, each from what is in it alone.
package:
	scripts/test-package verify
