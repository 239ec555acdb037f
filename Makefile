# From a fresh clone: `make demo` runs the main job, `make test` runs every check. Both set up what they need in .venv.

PYTHON ?= python3
VENV ?= .venv
# Many tests wait for real time to pass, which two at once do just as well.
WORKERS ?= 2
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
SOURCES := mux_async transports codegen tests examples benchmarks

.DEFAULT_GOAL := help
.PHONY: help demo test lint format types unit bench example mutants codegen check-codegen constraints build clean

help: ## Say what can be made
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mux_async needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo-installed: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install --quiet --constraint constraints.txt --editable '.[demo]'
	@touch $@

$(VENV)/.dev-installed: pyproject.toml constraints.txt requirements-dev.txt | $(BIN)/python
	$(PIP) install --quiet --constraint constraints.txt --editable '.[all]' --requirement requirements-dev.txt
	@touch $@ $(VENV)/.demo-installed

demo: $(VENV)/.demo-installed ## Ingest a handful of real media files into an embedded Mux
	$(BIN)/mux-async demo

test: lint unit ## Every check that CI runs

unit: $(VENV)/.dev-installed ## The tests; WORKERS=0 runs them one after the other
	$(BIN)/python -m pytest -n $(WORKERS)

lint: check-codegen types ## Style, types, and generated code that is up to date
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)

types: $(VENV)/.dev-installed ## mypy and pyright, both strict
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python

format: $(VENV)/.dev-installed ## Put the code in shape
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

codegen: $(VENV)/.dev-installed ## Write the generated code again
	$(BIN)/python -m codegen

check-codegen: $(VENV)/.dev-installed ## Fail if the generated code is not what the generator writes
	$(BIN)/python -m codegen --check

$(VENV)/.bench-installed: requirements-bench.txt $(VENV)/.dev-installed
	$(PIP) install --quiet --constraint constraints.txt --requirement requirements-bench.txt
	@touch $@

bench: $(VENV)/.bench-installed ## Measure this client beside what one would pick instead
	$(BIN)/python -m benchmarks

$(VENV)/.mutants-installed: requirements-mutants.txt $(VENV)/.dev-installed
	$(PIP) install --quiet --constraint constraints.txt --requirement requirements-mutants.txt
	@touch $@

mutants: $(VENV)/.mutants-installed ## Break the pure modules line by line, and see the tests fail; MODULE= for one of them
	$(BIN)/python -m tests.mutants $(MODULE)

example: $(VENV)/.dev-installed ## Run the example web application, with a Mux of its own
	$(BIN)/python -m examples.fastapi_app

constraints: $(VENV)/.dev-installed ## Pin the development dependencies anew
	$(PIP) freeze --exclude-editable | LC_ALL=C sort -f > constraints.txt

build: $(VENV)/.dev-installed ## Wheel and sdist in dist/
	$(BIN)/python -m build

clean: ## Remove what was built and set up
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
