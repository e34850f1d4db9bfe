# What people type. CI types the same (.ci/run).
.PHONY: test bench package

# Installs what is missing, then runs everything.
test:
	scripts/install-test-tools
	cargo build --workspace --locked
	cargo test --workspace --locked
	scripts/test-package

# Prints every figure beside its limit.
bench:
	cargo bench --workspace
	cargo build --workspace --locked --release
	target/release/ssmd bench

# Builds the packages that `cargo publish` would upload.
package:
	cargo package --workspace --locked
