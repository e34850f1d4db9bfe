# What people type. CI types the same (.ci/run).
.PHONY: test bench package fuzz test-echidna sanitize-echidna connector-echidna
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
	cargo build --workspace --locked --release --features ssmd/sonic
	target/release/ssmd bench

# Fuzzes coverage-guided, SECONDS for each target: `make fuzz`, or `make fuzz TARGET=kraken_decode SECONDS=600`.
SECONDS ?= 60
fuzz:
	scripts/fuzz $(SECONDS) $(TARGET)

# The connector, and ssmd, with the bridge to the libechidna in LIBECHIDNA_DIR (docs/libechidna.md).
connector-echidna:
	cargo build --release --locked --features libechidna -p ssmd-connector -p ssmd

# What needs an installed libechidna: the bridge's own tests, then those of feeds and of whole programs with its sockets.
# `make test` runs it where LIBECHIDNA_DIR is set.
ECHIDNA = --workspace --locked --features ssmd/libechidna
ECHIDNA_OWN = --test installed --test modes --test guard --test hostile --test limits --test payloads --test leaks
ECHIDNA_FEEDS = $(foreach name,kraken_feed kraken_futures_feed polymarket_feed kalshi_faults polymarket_faults \
	hostile_frames faults,--test $(name))
# Their clock stands still and is moved, which a thread of its own, as a connection of echidna-native has, does not see.
ECHIDNA_STILL = $(foreach name,feed kalshi_feed capture restart trouble universe ws,--test $(name))
test-echidna:
	@$(call timed,cargo build $(ECHIDNA))
	@$(call timed,cargo test $(ECHIDNA) --lib $(ECHIDNA_OWN))
	@$(call timed,SSMD_TEST_DIALER=echidna cargo test $(ECHIDNA) $(ECHIDNA_STILL))
	@for dialer in echidna echidna-native; do \
		export SSMD_TEST_DIALER=$$dialer; \
		$(call timed,cargo test $(ECHIDNA) $(ECHIDNA_FEEDS)) || exit; \
		$(call timed,cargo test $(ECHIDNA) --test spine -- dialers recorded connector what_is_no_message) || exit; \
	done

# The bridge's own tests with C++ under AddressSanitizer, which tells at the end what was leaked. LIBECHIDNA_DIR should
# have a libechidna that was compiled with -fsanitize=address too.
sanitize-echidna:
	@$(call timed,CXXFLAGS="-fsanitize=address -fno-omit-frame-pointer -g" ASAN_OPTIONS="$(ASAN)" cargo test $(ECHIDNA) $(ECHIDNA_OWN))
# libechidna deletes what it got from malloc; what was freed is kept for long enough to notice, in the memory that
# the test of leaks allows.
ASAN = alloc_dealloc_mismatch=0:detect_leaks=1:quarantine_size_mb=2:thread_local_quarantine_size_kb=64

# Builds the packages that `cargo publish` would upload, each from what is in it alone.
package:
	scripts/test-package verify
