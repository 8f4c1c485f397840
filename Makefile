# Payment Vault. `make help` lists what there is. Everything here works without a prompt and twice in a row.

SHELL := /bin/bash
.DEFAULT_GOAL := help

CARGO ?= cargo
# Two jobs keep a small machine alive; raise it on a big one: make build JOBS=8
JOBS ?= $(shell n=$$(nproc 2>/dev/null || echo 2); [ $$n -gt 4 ] && echo 4 || echo $$n)
export CARGO_BUILD_JOBS := $(JOBS)
export CARGO_TERM_COLOR ?= auto

.PHONY: help build run demo bench-disburse test check fmt need-cargo need-postgres check-format check-lints check-docs check-dependencies

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk 'BEGIN { FS = ":.*## " } { printf "  make %-15s %s\n", $$1, $$2 }'

build: need-cargo ## Build the release binary: target/release/payvault
	$(CARGO) build --release --locked -p payvault

run: need-cargo need-postgres ## Run Payment Vault here, with a private database in ./.payvault
	$(CARGO) run --release --locked -p payvault -- serve

demo: need-cargo need-postgres ## Show it at work: simulated M-Pesa, Mifos X and phones
	$(CARGO) run --release --locked -p payvault -- demo

bench-disburse: need-cargo need-postgres ## Measure disbursements on this machine: latency, throughput, with faults
	$(CARGO) run --release --locked -p payvault -- bench disburse

test: need-cargo need-postgres ## Run all tests
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
	  $(CARGO) nextest run --locked --workspace --no-fail-fast; \
	else \
	  $(CARGO) test --locked --workspace --lib --bins --tests --no-fail-fast; \
	fi
	$(CARGO) test --locked --workspace --doc

check: check-format check-lints test check-docs check-dependencies ## Everything that must hold before a commit; CI runs the same
	@echo "check: all good"

fmt: need-cargo ## Format the code
	$(CARGO) fmt --all

check-format: need-cargo
	$(CARGO) fmt --all --check

check-lints: need-cargo
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

check-docs: need-cargo
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps --document-private-items

# cargo-deny knows more (licences, sources); without it the crates that must never be built in are looked for by name. Cargo.lock also
# names crates that an unused feature of another would bring (ring, for one), so the tree is asked and not the file.
BANNED := openssl openssl-sys native-tls ring rsa
check-dependencies: need-cargo
	@if $(CARGO) deny --version >/dev/null 2>&1 && [ -f deny.toml ]; then \
	  $(CARGO) deny --locked check bans licenses sources; \
	else \
	  for crate in $(BANNED); do \
	    grep -q "^name = \"$$crate\"$$" Cargo.lock || continue; \
	    tree=$$($(CARGO) tree --locked --workspace --target all -e normal,build -i $$crate 2>/dev/null); \
	    if [ -n "$$tree" ]; then echo "a banned crate is built in:"; echo "$$tree"; exit 1; fi; \
	  done; \
	  echo "dependencies: none of the banned crates ($(BANNED))"; \
	fi

need-cargo:
	@command -v $(CARGO) >/dev/null 2>&1 || { echo "cargo is missing: install Rust 1.95 or newer from https://rustup.rs"; exit 1; }

# The programs of PostgreSQL 15 or newer; no server has to run. With DATABASE_URL another server is used for running, but tests
# make throw-away clusters of their own from these programs.
need-postgres:
	@.ci/postgres
