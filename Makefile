# Every command of the project. `make help` lists them. Paths are relative, so a folder with a
# space in its name is fine. Only python3 with venv, and make, need to be there.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# The first interpreter that is new enough; set PYTHON=/path/to/python to choose another.
PYTHON ?= $(shell for candidate in python3 python3.13 python3.12 python3.11; do \
	"$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { echo "$$candidate"; break; }; done)
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest
# Workers for the tests; each has a PostgreSQL of its own. More than two processors: much of a test is waiting.
WORKERS ?= 3
# The versions of PostgreSQL for the matrix; .ci/run leaves out the one that `make check` has run on.
VERSIONS ?= 15 16 17 18
# What is not about PostgreSQL, though it runs on one.
NOT_IN_MATRIX := test_tls.py test_secrets.py test_mcp_http.py test_mcp_bad_input.py \
	test_mcp_tools.py test_webhook_wire.py test_webhook_forged_pushes.py test_health_socket.py \
	test_open_sockets.py daemon/test_forged_notifications.py daemon/test_stopping_and_reloading.py \
	daemon/test_systemd_service.py daemon/test_unread_logs.py
# What the soak is made of: minutes of mixed faults, and operations against the model.
SOAK_MINUTES ?= 120
SOAK_OPERATIONS ?= 1000000
PACKAGES := etcd-server faketime iproute2 openssl patroni pgbouncer \
	postgresql-15 postgresql-15-plpgsql-check python3-etcd
RELEASE_PACKAGES := binutils buildah conmon debootstrap fish groff-base podman runc systemd-container zsh

.PHONY: help
help: ## List these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' Makefile

# --- set-up -----------------------------------------------------------------------------------

.PHONY: venv
venv: .venv/installed ## Create .venv with the pinned dependencies and the project itself

.venv/installed: requirements.txt
	@test -n "$(PYTHON)" || { echo >&2 "No Python 3.11 or newer was found:" \
		"install python3.11 or later, or say PYTHON=/path/to/python."; exit 78; }
	"$(PYTHON)" -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# Not npm ci: it wants the Supabase CLI of every platform in the lock file, which holds only this one.
node_modules/.package-lock.json: package.json package-lock.json
	npm install --no-save --no-audit --no-fund
	@touch $@

tests/clients/node_modules/.package-lock.json: tests/clients/package.json tests/clients/package-lock.json
	npm install --prefix tests/clients --no-save --no-audit --no-fund --loglevel error
	@touch $@

.PHONY: clients
clients: tests/clients/node_modules/.package-lock.json ## Install the clients that models work in, and their tools (1.3 GB)

.PHONY: requirements
requirements: ## Pin the dependencies anew (needs uv)
	uv pip compile --quiet --universal --all-extras --upgrade --generate-hashes \
		--custom-compile-command "make requirements" pyproject.toml -o requirements.txt
	uv pip compile --quiet --universal --all-extras --constraint requirements.txt --no-annotate \
		--custom-compile-command "make requirements" pyproject.toml -o constraints.txt

# --- the main job -----------------------------------------------------------------------------

.PHONY: demo
demo: venv ## Show the main job: a private PostgreSQL, the daemon, three agents
	@$(BIN)/coordinator demo

.PHONY: dev
dev: venv ## From a clone to a running daemon on a private PostgreSQL that keeps its data
	@$(BIN)/coordinator dev

# --- checks -----------------------------------------------------------------------------------

.PHONY: test
test: venv ## Run the tests; needs no installed PostgreSQL
	$(PYTEST) -n $(WORKERS) --dist worksteal -m "not slow and not js and not clients and not release" $(COVERAGE)

.PHONY: check
check: COVERAGE := --cov --cov-report=term
check: format-check lint types layers test ## Everything that must hold at each commit

.PHONY: check-slow
check-slow: release-packages test-matrix test-slow test-clients test-release ## The long checks; a skipped test is a failure here

.PHONY: system-packages
system-packages: ## Install what the long checks need beyond Python and npm (Debian, as root)
	@dpkg --status $(PACKAGES) >/dev/null 2>&1 || { apt-get update --quiet=2 \
		&& RUNLEVEL=1 apt-get install --quiet=2 --yes --no-install-recommends $(PACKAGES); }

.PHONY: test-matrix
test-matrix: venv node_modules/.package-lock.json ## Run the integration tests on PostgreSQL 15 to 18
	@failed=; for version in $(VERSIONS); do \
		echo "== PostgreSQL $$version"; \
		COORDINATOR_TEST_PG_BIN="node_modules/pg$$version/native/bin" \
		$(PYTEST) -n $(WORKERS) --dist worksteal --skips-fail -m "(not slow or matrix) and not js and not clients" \
			$(addprefix --ignore tests/integration/,$(NOT_IN_MATRIX)) \
			tests/integration || failed="$$failed $$version"; \
	done; \
	test -z "$$failed" || { echo >&2 "error: failed on PostgreSQL$$failed"; exit 1; }

.PHONY: test-slow
test-slow: venv node_modules/.package-lock.json ## Run the slow tests and the JavaScript example
	$(PYTEST) -n 2 --dist worksteal --skips-fail --ignore tests/unit \
		-m "(slow or js) and not exhaustive and not clients and not release"

.PHONY: test-exhaustive
test-exhaustive: venv ## Undo each guard of the schema and see a test fail; search the doorbell's widest scenes
	$(PYTEST) -n 2 --dist worksteal --skips-fail -m exhaustive

.PHONY: test-clients
test-clients: venv clients ## Drive the real clients with a scripted model, without login or network
	$(PYTEST) -n 2 --dist worksteal --skips-fail -m clients

.PHONY: test-release
test-release: venv release-packages ## Build, install and boot what is shipped: wheel, image, systemd unit
	$(PYTEST) -n 2 --dist loadfile --skips-fail -m release

.PHONY: release-packages
release-packages: PACKAGES += $(RELEASE_PACKAGES)
release-packages: system-packages

.PHONY: soak
soak: venv ## Hours of mixed faults, and a million operations against the model
	COORDINATOR_TEST_SOAK_MINUTES=$(SOAK_MINUTES) COORDINATOR_TEST_OPERATIONS=$(SOAK_OPERATIONS) \
		$(PYTEST) --timeout 0 -m soak -s

.PHONY: bench
bench: venv ## Measure speed, beside raw floors and the peers that are installed
	$(BIN)/python -m benchmarks

benchmarks/peers/.venv/installed: benchmarks/peers/requirements.txt
	"$(PYTHON)" -m venv --clear benchmarks/peers/.venv
	benchmarks/peers/.venv/bin/python -m pip install --quiet -r benchmarks/peers/requirements.txt
	@touch $@

benchmarks/peers/node_modules/.package-lock.json: benchmarks/peers/package.json benchmarks/peers/package-lock.json
	npm install --prefix benchmarks/peers --no-save --no-audit --no-fund --loglevel error
	@touch $@

.PHONY: bench-peers
bench-peers: benchmarks/peers/.venv/installed benchmarks/peers/node_modules/.package-lock.json ## Install the queues that bench compares with

.PHONY: format
format: venv ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --select I --fix .

.PHONY: format-check
format-check: venv
	$(BIN)/ruff format --check .

.PHONY: lint
lint: venv ## Look for mistakes
	$(BIN)/ruff check .

.PHONY: types
types: venv ## Check the types
	$(BIN)/mypy

.PHONY: layers
layers: venv ## Check that imports point down
	$(BIN)/lint-imports

# --- generated pages --------------------------------------------------------------------------

.PHONY: docs
docs: venv ## Write the generated pages under docs/
	$(BIN)/python -m coordinator.telemetry.events_page > docs/events.md
	$(BIN)/python -m coordinator.config.page > docs/configuration.md
	$(BIN)/python -m coordinator.config.schema > docs/configuration.schema.json
	$(BIN)/python -m coordinator.cli.page > docs/cli.md
	$(BIN)/python -m coordinator.cli.manual > docs/coordinator.1
	$(BIN)/python -m tests.support.dependencies > docs/dependencies.md
	$(BIN)/python -m tests.support.diagram

.PHONY: audit
audit: ## Ask for known vulnerabilities of the dependencies (needs uv and a network)
	uvx pip-audit --strict --disable-pip --require-hashes -r requirements.txt

.PHONY: catalog
catalog: venv ## Note what the migrations make, for doctor (after editing a migration)
	$(BIN)/python -m coordinator.store.catalog_file --supabase tests/support/supabase.sql

.PHONY: clean
clean: ## Remove everything that was built
	rm -rf .venv node_modules tests/clients/node_modules benchmarks/peers/.venv \
		benchmarks/peers/node_modules build dist .coverage .coverage.* htmlcov \
		.mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
