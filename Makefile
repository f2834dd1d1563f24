# The two commands: `make demo` and `make test`. A fresh machine needs Python 3.10 or later with pip, and make.

PORT ?= 8080
PYTEST_ARGS ?=
SIZES ?= 1000,10000,100000

# A uv of our own when the machine has none.
UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
VENV := .venv/.made-from-lock
VENV32 := .venv-airflow32/.made-from-lock
PYTEST := .venv/bin/pytest
PYTEST32 := .venv-airflow32/bin/pytest
SUITE := scripts/suite

.DEFAULT_GOAL := help
.PHONY: help env env32 system test lint demo clean \
	test-unit test-sqlite test-postgresql test-airflow32 test-views test-browser test-fire test-live test-large test-package bench

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' Makefile

env: $(VENV) ## Make .venv, with Airflow 3.3

env32: $(VENV32) ## Make .venv-airflow32, with Airflow 3.2

$(VENV): pyproject.toml uv.lock | $(UV)
	UV_PROJECT_ENVIRONMENT=.venv $(UV) sync --locked
	@touch $@

$(VENV32): pyproject.toml uv.lock | $(UV)
	UV_PROJECT_ENVIRONMENT=.venv-airflow32 $(UV) sync --locked --no-group airflow33 --group airflow32
	@touch $@

.uv/bin/uv:
	python3 -m pip install --quiet --target .uv uv
	@echo '*' > .uv/.gitignore

system: ## Install PostgreSQL and Chromium from Debian's packages where missing
	@scripts/system-packages

# The longest first, since three run at a time: the browser, the fire and the servers also wait.
SUITES := test-browser test-sqlite test-postgresql test-fire test-live test-airflow32 test-views test-large test-package test-unit

test: env env32 system ## Run every test suite, on Airflow 3.3 and 3.2; PYTEST_ARGS=--full tries more cases
	@MAKE="$(MAKE)" scripts/all-suites $(SUITES)

test-unit: $(VENV) ## The pure core: no Airflow, no database
	@$(SUITE) $(PYTEST) tests/unit $(PYTEST_ARGS)

test-sqlite: $(VENV) ## On a SQLite metadata database
	@$(SUITE) $(PYTEST) tests/db tests/crash $(PYTEST_ARGS)

test-postgresql: $(VENV) system ## On a PostgreSQL metadata database
	@$(SUITE) $(PYTEST) tests/db tests/crash --backend postgresql $(PYTEST_ARGS)

# What an older Airflow, or another auth manager, can make different: who comes in, which forms, what is done.
DIFFERING_VIEWS := tests/views/test_access.py tests/views/test_plan.py tests/views/test_applying.py

test-airflow32: $(VENV32) ## The same on Airflow 3.2: SQLite and the pages
	@$(SUITE) $(PYTEST32) tests/db $(PYTEST_ARGS)
	@$(SUITE) $(PYTEST32) $(DIFFERING_VIEWS) tests/views/test_select.py $(PYTEST_ARGS)

test-views: $(VENV) ## The pages in Airflow's Flask app, under both auth managers
	@$(SUITE) $(PYTEST) tests/views $(PYTEST_ARGS)
	@$(SUITE) $(PYTEST) $(DIFFERING_VIEWS) --auth simple $(PYTEST_ARGS)

test-browser: $(VENV) system ## Chromium against a running Airflow
	@$(SUITE) $(PYTEST) tests/browser $(PYTEST_ARGS)

test-fire: $(VENV) system ## Clears and undos while a scheduler is at work
	@$(SUITE) $(PYTEST) tests/fire --backend postgresql $(PYTEST_ARGS)

test-live: $(VENV) system ## Whether findings and estimates come true with a scheduler
	@$(SUITE) $(PYTEST) tests/live --backend postgresql $(PYTEST_ARGS)

test-large: $(VENV) system ## Query plans and memory on PostgreSQL with a million task instances
	@$(SUITE) $(PYTEST) tests/large --backend postgresql --auth simple $(PYTEST_ARGS)

test-package: $(VENV) ## The built wheel and sdist in environments of their own
	@$(SUITE) $(PYTEST) tests/package $(PYTEST_ARGS)

lint: $(VENV) ## Formatting, lint, types and the import contract
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports

demo: $(VENV) ## Start Airflow with demo DAGs and history; PORT=8080
	@.venv/bin/python demo/main.py --port $(PORT)

# More variables: see docs/performance.md.
bench: $(VENV) system ## Measure beside Airflow's own ways; SIZES=1000,10000,100000
	@.venv/bin/python -m bench --sizes "$(SIZES)" --ops "$(OPS)" --parts "$(PARTS)" --runs "$(RUNS)" \
		--delay-ms "$(DELAY_MS)" --mapped "$(MAPPED)" --cap "$(CAP)"

clean: ## Remove what the other targets made, the demo's data too
	rm -rf .venv .venv-airflow32 .uv .demo build dist test-results .mypy_cache .ruff_cache .pytest_cache \
		.hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
