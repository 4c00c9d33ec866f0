# The one door: what a developer runs is what CI runs. `make help` lists the targets.
# Longer steps live in .ci/, one script each. What the steps say goes to stderr: stdout belongs to the programs.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
BIN := .venv/bin
ARGS ?=
HOURS ?= 8
WORKERS ?= 2

# Hundreds of programs are started here: none compiles again what the one before it has compiled.
export PYTHONDONTWRITEBYTECODE :=

# What each set of targets needs of pyproject.toml's extras. A stamp makes the second run instant.
EXTRAS_demo := cpu,hub,demo
EXTRAS_test := cpu,hub,demo,test
EXTRAS_dev := cpu,hub,demo,test,dev

.PHONY: help venv demo test e2e-console chaos soak check packs protos bench-serving bench-edge bench-hub bench-ingest bench-isolation bench-certificate bench-escalation bench-drift bench-estimate images wheel docs fmt clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.venv/.installed-%: pyproject.toml
	@PYTHON=$(PYTHON) .ci/venv $(EXTRAS_$*)
	@touch $@

venv: .venv/.installed-dev ## Make .venv with everything a developer needs

demo: .venv/.installed-demo ## Run the whole system on this machine, with real sensor data (ARGS="--no-ui --json" without a terminal)
	@$(BIN)/python -m deploy.demo $(ARGS)

test: .venv/.installed-test ## Run all tests (ARGS="tests/unit -k words" picks some; WORKERS=0: one by one)
	@.ci/system_packages
	@$(BIN)/python -m pytest --numprocesses $(WORKERS) $(ARGS)

e2e-console: .venv/.installed-test ## Look at every page of the console in a real browser (part of make test where Chromium is)
	@.ci/system_packages
	@$(BIN)/python -m pytest tests/e2e/console $(ARGS)

chaos: .venv/.installed-test ## Hurt the system in every way we know and count what is left (ARGS="flap --seed 7", "--write")
	@.ci/system_packages
	@$(BIN)/python -m tests.chaos $(ARGS)

soak: .venv/.installed-test ## The same for hours, each round with another seed (HOURS=8)
	@.ci/system_packages
	@$(BIN)/python -m tests.chaos --hours $(HOURS) $(ARGS)

check: .venv/.installed-dev ## Lint, format, types, import arrows, generated files, docs, coverage of the cores
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	.ci/generated --check
	.ci/docs
	.ci/coverage

protos: .venv/.installed-dev ## Regenerate the protobuf code and the sample configs in place
	.ci/generated

packs: ## Retrain the shipped packs from their pinned data (torch, in an environment of its own; ARGS="--family NAME")
	@PYTHON=$(PYTHON) .ci/packs $(ARGS)

bench-certificate: .venv/.installed-test ## Measure how often certificates are wrong, and what they keep; writes build/bench/certificate.json
	@$(BIN)/python -m tests.bench.bench_certificate $(ARGS)

bench-escalation: .venv/.installed-test ## Measure how little must be escalated to be as right as the hub; writes build/bench/escalation.*
	@$(BIN)/python -m tests.bench.bench_escalation $(ARGS)

bench-edge: .venv/.installed-test ## Measure MQTT -> prediction and the way to the hub and back; writes build/bench/edge.*
	@.ci/system_packages
	@$(BIN)/python -m tests.bench.bench_edge $(ARGS)

bench-serving: .venv/.installed-test ## Measure the agent's inference protocol beside peers from PyPI; writes build/bench/serving.*
	@.ci/bench_packages
	@$(BIN)/python -m tests.bench.bench_serving $(ARGS)

bench-hub: .venv/.installed-test ## Measure the hub's serving beside peers from PyPI; writes build/bench/hub.*
	@.ci/bench_packages
	@$(BIN)/python -m tests.bench.bench_hub $(ARGS)

bench-ingest: .venv/.installed-test ## Measure what the journal takes against a bare subscriber; writes build/bench/ingest.json
	@$(BIN)/python -m tests.bench.bench_ingest $(ARGS)

bench-isolation: .venv/.installed-test ## Measure local p99 with the hub away, silent or slow; writes build/bench/isolation.json
	@$(BIN)/python -m tests.bench.bench_isolation $(ARGS)

bench-drift: .venv/.installed-test ## Measure how soon drift is seen, how often wrongly, and under which name
	@$(BIN)/python -m tests.bench.bench_drift $(ARGS)

bench-estimate: .venv/.installed-test ## Measure what the hub can know of the edge's errors, and how
	@$(BIN)/python -m tests.bench.bench_estimate $(ARGS)

images: .venv/.installed-test ## Take the pictures of docs/images from a run of the demo (needs Chromium)
	@.ci/system_packages
	@$(BIN)/python -m deploy.images $(ARGS)

wheel: .venv/.installed-dev ## Build the wheel, install it in an empty environment, start the three programs there
	@PYTHON=$(PYTHON) .ci/wheel

docs: .venv/.installed-dev ## Serve the documentation on http://127.0.0.1:8000
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

fmt: .venv/.installed-dev ## Format the code and mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove what was built (.venv too)
	rm -rf .venv build dist site .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
