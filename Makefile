# What people type. CI types the same (.ci/run).
.PHONY: test bench package fuzz test-echidna connector-echidna
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
	@if [ -n "$$LIBECHIDNA_DIR" ]; then $(MAKE) --no-print-directory test-echidna; fi

# Prints every figure beside its limit.
bench:
	cargo bench --workspace
	cargo build --workspace --locked --release
	target/release/ssmd bench

# Fuzzes coverage-guided, SECONDS for each target: `make fuzz`, or `make fuzz TARGET=kraken_decode SECONDS=600`.
SECONDS ?= 60
fuzz:
	scripts/fuzz $(SECONDS) $(TARGET)

# The connector, and ssmd, with the bridge to the libechidna in LIBECHIDNA_DIR (docs/libechidna.md).
connector-echidna:
	cargo build --release --locked --features libechidna -p ssmd-connector -p ssmd

# What needs an installed libechidna. `make test` runs it where LIBECHIDNA_DIR is set.
test-echidna:
	@$(call timed,cargo test --workspace --locked --features ssmd-echidna/libechidna --test dial --test guard --test leaks)

# Builds the packages that `cargo publish` would upload, each from what is in it alone.
package:
	scripts/test-package verify
