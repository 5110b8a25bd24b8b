# `make book` and `make test` are the two commands a fresh machine needs; `make help` lists the rest.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3.11 || command -v python3 || echo python3)
PROFILE ?= default
JOBS ?= 2
PORT ?= 8000
# e.g. make venv PIP_FLAGS="--extra-index-url https://download.pytorch.org/whl/cpu" for the small CPU build of torch
PIP_FLAGS ?=
VENV := .venv
STAMP := $(VENV)/.installed
PINS := requirements.txt constraints.txt pyproject.toml

.PHONY: help venv book smoke full test test-faults lint serve amptorch bench-gmp bench-molecules bench-storage bench-batched bench-amptorch bench-scale clean distclean

help: ## list the targets
	@echo "Targets (variables: PYTHON, PROFILE, JOBS, PORT, PIP_FLAGS):"
	@grep -hE '^[a-z-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z-]+):.*## /\1\t/' | awk -F'\t' '{printf "  make %-12s %s\n", $$1, $$2}'

venv: $(STAMP) ## make or update .venv with the pinned set

$(STAMP): $(PINS)
	@command -v "$(PYTHON)" >/dev/null || { echo "make: no Python found; install Python 3.11 or say make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	  || { echo "make: $(PYTHON) is $$("$(PYTHON)" -V 2>&1); the pinned set needs Python 3.11, 3.12 or 3.13: say make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "==> making $(VENV) with $$("$(PYTHON)" -V) and installing the pinned set (some minutes the first time)"
	@test -x $(VENV)/bin/python || "$(PYTHON)" -m venv $(VENV) || { echo "make: $(PYTHON) cannot make a virtual environment (on Debian: apt install python3-venv)" >&2; exit 1; }
	@$(VENV)/bin/python -m pip install --disable-pip-version-check $(PIP_FLAGS) -r requirements.txt -c constraints.txt
	@$(VENV)/bin/python -m pip install --disable-pip-version-check --quiet --no-build-isolation --no-deps -e .
	@touch $@
	@echo "==> $(VENV) is ready: source $(VENV)/bin/activate && hpopt --help"

book: $(STAMP) ## execute every chapter (PROFILE=default) and render the book
	@echo "==> building the book, profile $(PROFILE)"
	@$(VENV)/bin/hpopt book build --profile $(PROFILE) --jobs $(JOBS)

smoke: $(STAMP) ## the same with the smallest profile (under 3 minutes)
	@$(VENV)/bin/hpopt book build --profile smoke --jobs $(JOBS)

full: $(STAMP) ## the same with the long profile (hours; meant for a cluster)
	@$(VENV)/bin/hpopt book build --profile full --jobs $(JOBS)

serve: $(STAMP) ## build, show on 127.0.0.1 and rebuild what changes (PROFILE, PORT)
	@$(VENV)/bin/hpopt book serve --profile $(PROFILE) --jobs $(JOBS) --port $(PORT)

test: $(STAMP) ## run the linters and the tests
	@echo "==> running the tests"
	@$(VENV)/bin/python -m pytest $(PYTEST_FLAGS)

test-faults: $(STAMP) ## break running studies at random, prove that nothing was lost (FAULTS_FLAGS="--seeds 1,2,3")
	@echo "==> breaking studies: workers and their server are killed, stopped and moved"
	@$(VENV)/bin/python tests/faults.py $(FAULTS_FLAGS)

amptorch: $(STAMP) ## add AMPtorch to .venv, for --backend amptorch (needs a C++ compiler)
	@$(VENV)/bin/python -m pip install --disable-pip-version-check --no-build-isolation $(PIP_FLAGS) -r requirements-amptorch.txt -c constraints.txt
	@$(VENV)/bin/hpopt amptorch check

bench-amptorch: $(STAMP) ## both backends on the same data and hyperparameters (after make amptorch)
	@$(VENV)/bin/python benchmarks/bench_amptorch.py $(BENCH_FLAGS)

bench-gmp: $(STAMP) ## speed, accuracy and memory of the GMP features (BENCH_FLAGS=--quick for a short look)
	@$(VENV)/bin/python benchmarks/bench_gmp.py $(BENCH_FLAGS)

bench-molecules: $(STAMP) ## energies and forces of molecules beside baselines (BENCH_FLAGS=--quick for a short look)
	@$(VENV)/bin/python benchmarks/bench_molecules.py $(BENCH_FLAGS)

bench-storage: $(STAMP) ## trials per second and overhead of a trial on every storage (BENCH_FLAGS=--quick)
	@$(VENV)/bin/python benchmarks/bench_storage.py $(BENCH_FLAGS)

bench-batched: $(STAMP) ## trainings per hour, many networks at once beside one by one (BENCH_FLAGS=--quick)
	@$(VENV)/bin/python benchmarks/bench_batched.py $(BENCH_FLAGS)

bench-scale: $(STAMP) ## memory, time and disk for many frames, and the projection to all of OC20 (BENCH_FLAGS=--quick)
	@$(VENV)/bin/python benchmarks/bench_scale.py $(BENCH_FLAGS)

lint: $(STAMP) ## ruff (rules and format) and mypy only
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy

clean: ## remove what builds and tests made (keeps .venv)
	@rm -rf _build build .pytest_cache .ruff_cache .mypy_cache .hypothesis
	@find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +
	@echo "==> removed _build and the caches; $(VENV) is kept (make distclean removes it too)"

distclean: clean ## clean, and remove .venv
	@rm -rf $(VENV) *.egg-info
	@echo "==> removed $(VENV)"
