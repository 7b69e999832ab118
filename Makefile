# Two commands do all the set-up: `make run` and `make test`. Only Python 3.11+, make and git must be there.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
UV := .tools/uv-0.13.9
BIN := .venv/bin
export UV_PYTHON_PREFERENCE ?= system

.PHONY: help run test test-heavy check format bench clean

help: ## List what make can do
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(UV):
	@$(PYTHON) tools/bootstrap_uv.py $@

.venv/.run: $(UV) pyproject.toml uv.lock
	@$(UV) sync --quiet --locked --no-dev --python $(PYTHON)
	@rm -f .venv/.dev; touch $@

.venv/.dev: $(UV) pyproject.toml uv.lock
	@$(UV) sync --quiet --locked --python $(PYTHON)
	@touch $@ .venv/.run

run: .venv/.run ## Start Mainstay on 127.0.0.1:8080 with a model that runs here
	@$(BIN)/mainstay run

test: check ## Install what the tests need, run the checks and every test but the heavy ones
	@$(PYTHON) tools/install_test_services.py
	@$(BIN)/python tools/fetch_test_models.py
	@$(BIN)/python tools/install_identity_provider.py
	@$(BIN)/pytest -m "not heavy"

test-heavy: .venv/.dev ## The tests that take minutes
	@$(PYTHON) tools/install_test_services.py
	@$(BIN)/python tools/fetch_test_models.py
	@$(BIN)/python tools/install_identity_provider.py
	@$(BIN)/pytest -m heavy

check: .venv/.dev ## Format, lint, types, import contracts
	@$(BIN)/ruff format --check --quiet . || { echo "run 'make format'"; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: .venv/.dev ## Format the code and mend what the linter can
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --quiet --fix .

bench: .venv/.dev ## Measure against peers; prints tables, see benchmarks/README.md
	@$(BIN)/python -m benchmarks

clean: ## Remove what was installed into this folder
	@rm -rf .venv .tools .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
