# Everything that people and CI run. Nothing but python3 (3.11 or newer) with pip is needed; `make PYTHON=python3.12` picks another.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
DISTRIBUTIONS = -e core $(patsubst %/pyproject.toml,-e %,$(wildcard plugins/*/pyproject.toml))
DESCRIPTIONS = pyproject.toml constraints.txt core/pyproject.toml $(wildcard plugins/*/pyproject.toml)
WORKERS ?= 2

# One thread a test process: two workers share two cores, and OpenMP barriers cost more than a second thread brings.
test check bench: export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test check lint format bench clean

help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /make \1\t/' | expand -t 14

setup: $(VENV)/.developer  ## the environment with every development tool

demo: $(VENV)/.user  ## train, sample, judge and report on real data, in a few minutes
	$(BIN)/anylatent run recipes/image/quickstart.yaml

test: $(VENV)/.developer  ## the default tests
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

lint: $(VENV)/.developer  ## style, format, types, layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright
	$(BIN)/lint-imports

check: lint  ## everything: lint and all tests, the slow ones too
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m '' $(ARGS)

format: $(VENV)/.developer  ## put the code in format
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(VENV)/.developer  ## compare with peers, side by side
	$(BIN)/python -m benchmarks $(ARGS)

clean:  ## remove the environment and caches; runs/ stays
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis .import_linter_cache build dist

# Stamps: the environment is made again only when a description changes. pip comes through the outer pip's --python,
# so that a Python without ensurepip will do. Python compiles what it imports: --no-compile halves the time to get there.

$(BIN)/python:
	$(PYTHON) -m venv --without-pip $(VENV)
	$(PYTHON) -m pip --python $@ install --quiet -c constraints.txt pip

$(VENV)/.user: $(DESCRIPTIONS) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --no-compile -c constraints.txt $(DISTRIBUTIONS)
	touch $@

$(VENV)/.developer: $(DESCRIPTIONS) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --no-compile -c constraints.txt $(DISTRIBUTIONS) --group dev
	touch $(VENV)/.user $@
