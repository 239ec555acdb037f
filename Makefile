# From a fresh clone: `make demo` runs the main job, `make test` runs the checks. Both set up what they need in .venv.

PYTHON ?= python3
VENV ?= .venv
# Many tests wait for real time to pass, which two at once do just as well.
WORKERS ?= 2
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
PIP := $(BIN)/python -m pip --disable-pip-version-check
SOURCES := mux_async transports codegen tools tests examples benchmarks

# The tests start hundreds of programs. Images of containers often set this, and then each of them compiles the package again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test proofs test-pythons test-lowest lint format types unit bench example mutants codegen check-codegen api layers tables docs \
	constraints locks release-check sbom check-workflows build clean

help: ## Say what can be made
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mux_async needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)

# What comes from a registry is checked against the hashes of the lock files; the project itself is then installed without asking one.
$(VENV)/.demo-installed: pyproject.toml requirements-demo.lock | $(BIN)/python
	$(PIP) install --quiet --require-hashes --requirement requirements-demo.lock
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev-installed: pyproject.toml requirements-dev.lock | $(BIN)/python
	$(PIP) install --quiet --require-hashes --requirement requirements-dev.lock
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@ $(VENV)/.demo-installed

demo: $(VENV)/.demo-installed ## Ingest a handful of real media files into an embedded Mux
	$(BIN)/mux-async demo

test: lint unit ## Style, types and every test but the slow proofs

unit: $(VENV)/.dev-installed ## The tests; WORKERS=0 runs them one after the other
	$(BIN)/python -m pytest -n $(WORKERS)

# MUX_TEST_PROOFS: Hypothesis draws all of its examples (tests/_examples.py), where `make test` draws some.
proofs: $(VENV)/.dev-installed ## The slow tests: storms, browsers, real servers, processes, type checkers; properties with all examples
	MUX_TEST_PROOFS=1 $(BIN)/python -m pytest -n $(WORKERS) -m "proof or hypothesis"

# Each has an environment of its own beside $(VENV), from the same lock file: .venv-3.12, ... PYTHONS="3.13" for some of them.
test-pythons: $(BIN)/python ## `make unit` on every other supported Python that this machine has
	@$(BIN)/python -m tools.pythons --others $(PYTHONS) | while read -r version python; do \
		echo "Python $$version: $$python"; \
		$(MAKE) unit PYTHON="$$python" VENV="$(VENV)-$$version" < /dev/null || exit 1; \
	done

lint: check-codegen types ## Style, types, and generated code that is up to date
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)

types: $(VENV)/.dev-installed ## mypy and pyright, both strict
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python

format: $(VENV)/.dev-installed ## Put code and documents in shape
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/python -m tools.prose

codegen: $(VENV)/.dev-installed ## Write the generated code again
	$(BIN)/python -m codegen

api: $(VENV)/.dev-installed ## Write the listing of the public API, docs/api.txt, again
	$(BIN)/python -m tools.public_api

layers: $(VENV)/.dev-installed ## Draw the layers in CONTRIBUTING.md again, from the imports
	$(BIN)/python -m tools.layers

tables: $(VENV)/.dev-installed ## Write the tables in docs/configuration.md and docs/from-mux-*.md again, from the code
	$(BIN)/python -m tools.settings_tables
	$(BIN)/python -m tools.client_tables

docs: $(VENV)/.dev-installed ## Build the documentation site into build/site/html, and check it
	$(BIN)/python -m tools.site

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

# What the lowest versions that pyproject.toml allows have to pass: every library is imported and used, in a minute.
LOWEST := $(VENV)-lowest
LOWEST_TESTS := tests/engine/test_engine.py tests/engine/test_retry.py tests/transports/test_aiohttp.py \
	tests/transports/test_aiohttp_fast_path.py tests/transports/test_httpx.py tests/transports/test_httpx_options.py \
	tests/signing/test_signer.py tests/signing/test_verify.py tests/cli/test_cli.py

$(LOWEST)/.installed: pyproject.toml requirements-lowest.lock
	$(PYTHON) -m venv --clear $(LOWEST)
	$(LOWEST)/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes --requirement requirements-lowest.lock
	$(LOWEST)/bin/python -m pip --disable-pip-version-check install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

test-lowest: $(LOWEST)/.installed ## Tests with the lowest versions of dependencies that are allowed
	$(LOWEST)/bin/python -m pytest -n $(WORKERS) -W ignore::DeprecationWarning $(LOWEST_TESTS)

COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate --no-emit-index-url

constraints: $(VENV)/.dev-installed ## Pin the development dependencies anew: constraints.txt and the lock files with hashes
	$(COMPILE) --upgrade --all-extras pyproject.toml requirements-dev.txt --output-file constraints.txt
	$(MAKE) locks VENV=$(VENV)

locks: $(VENV)/.dev-installed ## Write the lock files anew, from the versions in constraints.txt
	$(COMPILE) --upgrade --generate-hashes --constraint constraints.txt --all-extras pyproject.toml requirements-dev.txt \
		--output-file requirements-dev.lock
	printf 'hatchling\nhatch-fancy-pypi-readme\n' | $(COMPILE) --upgrade --generate-hashes --constraint constraints.txt --extra demo pyproject.toml - \
		--output-file requirements-demo.lock
	sed 's/[;[].*//' requirements-lowest.txt | grep -v '^#' | while read -r name; do grep "^$$name==" constraints.txt; done \
		| $(COMPILE) --upgrade --generate-hashes --resolution lowest-direct --all-extras pyproject.toml requirements-lowest.txt - \
		--output-file requirements-lowest.lock

release-check: $(VENV)/.dev-installed ## Build in dist/ what a release publishes, and try it on every Python of this machine; TAG=v1.2.3
	$(BIN)/python -m tools.release_check --tag "$(TAG)"

# What `mux-async[all]` installs, from an environment that has it alone, by the lock file that `make demo` uses for a part of it.
sbom: $(VENV)/.dev-installed ## A software bill of materials of the wheel in dist/ and its dependencies, dist/sbom/mux-async.cdx.json
	rm -rf $(VENV)-sbom dist/sbom
	$(BIN)/python -m venv --without-pip $(VENV)-sbom
	$(PIP) --python $(VENV)-sbom install --quiet --constraint constraints.txt "$$(ls dist/*.whl)[all]"
	mkdir -p dist/sbom
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --output-format JSON \
		--output-file dist/sbom/mux-async.cdx.json $(VENV)-sbom

check-workflows: $(VENV)/.dev-installed ## The workflows and issue forms of .github, against their schemas
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-forms $$(ls .github/ISSUE_TEMPLATE/*.yml | grep -v config.yml)
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml

build: $(VENV)/.dev-installed ## Wheel and sdist in dist/
	$(BIN)/python -m build

clean: ## Remove what was built and set up
	rm -rf $(VENV) $(VENV)-* dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
