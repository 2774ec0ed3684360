# Two commands do everything: `make run` and `make test`. Both set the environment up if it is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
WORKERS ?= 2

.PHONY: help setup run test services check format clean

help:
	@echo "make run    install if needed, then the main job (configs/quickstart.yaml)"
	@echo "make test   install if needed, then all tests that need no server"
	@echo "make services  the tests with servers: PostgreSQL, Redis, Prefect's pages in a browser"
	@echo "make check  lint, types, import contracts, fast tests"
	@echo "make setup  create $(VENV) with the tested versions"

setup: $(STAMP)

# torch first and by itself: a plain `torch` would bring gigabytes of CUDA libraries.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; found $$($(PYTHON) --version). Set PYTHON=python3.11"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(BIN)/python -m flows.process.prefect_server_main --prepare  # an empty Prefect database, migrated once
	@touch $(STAMP)

run: $(STAMP)
	$(BIN)/temper run configs/quickstart.yaml

# WORKERS processes share the tests, whole files each; WORKERS=0 runs them in one.
test: $(STAMP)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "not services"

# One process: they wait for servers, and measure times. Debian: postgresql redis-server chromium docker-compose.
services: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,services]'
	$(BIN)/python -m pytest -m services

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "not slow and not services"

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
