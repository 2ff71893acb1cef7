# Every target sets up what it lacks (scripts/setup) or says exactly what to install.
.DEFAULT_GOAL := help
.PHONY: help demo check test bench deb release setup
# rustup must not go to its download server in the middle of a build: it says what to install instead.
export RUSTUP_AUTO_INSTALL ?= 0

help: ## Show this list.
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## Build both programs (no more), start them, show them at work, print the commands to try.
	@scripts/setup build
	cargo build --quiet --bins
	cargo run --quiet --bin mcp-guard -- demo

check: ## The quick gate before a commit: format, lints, and every test that needs no other program.
	@scripts/setup build
	cargo fmt --all --check
	cargo clippy --quiet --workspace --all-targets -- -D warnings
	cargo test --quiet --workspace --lib --bins --test '[!a]*' --test 'a[!t]*'

test: ## Everything CI runs: check, fuzz targets for a moment, the bad-input corpus, the end-to-end tests, the instruction budget.
	@scripts/test

bench: ## Guard, nginx, HAProxy and a byte relay in turn under the same load: the table of docs/performance.md, in 20 minutes.
	@scripts/setup bench
	python3 benches/compare/compare.py

deb: ## Build the Debian package: both programs, units, configuration, manual (target/deb).
	@scripts/deb

release: ## Build what a release consists of: package, tarballs, bills of materials, checksums (target/release-artifacts).
	@scripts/release

setup: ## Install what the tests and the comparison need, and the pre-commit hook.
	@scripts/setup bench
	@scripts/install-hook
