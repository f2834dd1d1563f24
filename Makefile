# The two commands: `make demo` and `make test`. A fresh machine needs make and Python 3.10 or later with pip.

PORT ?= 8080
PYTEST_ARGS ?=
SIZES ?= 1000,10000,100000
DRIVERS ?= psycopg,psycopg2

# A uv of our own when the machine has none.
UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
VENV := .venv/.made-from-lock
VENV32 := .venv-airflow32/.made-from-lock
PYTEST := .venv/bin/pytest
PYTEST32 := .venv-airflow32/bin/pytest
SUITE := scripts/suite
# A suite that only computes, behind those in which servers and a browser must answer in time.
COMPUTE := nice -n 10 $(SUITE)
PARALLEL := --numprocesses 2 --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help env env32 system test test-full lint demo bench clean \
	test-unit test-sqlite test-postgresql test-psycopg2 test-airflow32 test-views test-auth test-browser test-cli test-soak \
	test-scheduler test-celery test-query-plans test-package test-deployments test-python

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' Makefile

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

system: ## Install PostgreSQL and Chromium from Debian's packages if missing
	@scripts/system-packages

# Longest first, by measured time, but so that a suite which waits for servers is always beside ones that compute.
SUITES := test-browser test-postgresql test-sqlite test-soak test-airflow32 test-scheduler test-views test-cli \
	test-psycopg2 test-auth test-query-plans test-package test-unit

test: env env32 system ## Run everything that a change needs, with the same examples each time
	@MAKE="$(MAKE)" SAFE_CLEAR_LIMIT=$${SAFE_CLEAR_LIMIT:-4800} scripts/all-suites $(SUITES)

test-full: env env32 system ## Run everything: random seeds, every kill point, other deployments; takes hours
	@scripts/system-packages full
	UV_PROJECT_ENVIRONMENT=.venv $(UV) sync --locked --group celery
	@MAKE="$(MAKE)" PYTEST_ARGS="$(PYTEST_ARGS) --full --timeout=7200" \
		scripts/all-suites $(SUITES) test-celery test-deployments

test-unit: $(VENV) ## Test the pure core: no Airflow, no database
	@$(COMPUTE) $(PYTEST) tests/unit $(PYTEST_ARGS)

test-sqlite: $(VENV) ## Test on a SQLite metadata database
	@$(COMPUTE) $(PYTEST) tests/db tests/crash $(PARALLEL) $(PYTEST_ARGS)

test-postgresql: $(VENV) system ## Test on PostgreSQL with psycopg 3, where the database matters
	@$(COMPUTE) $(PYTEST) tests/db tests/crash --backend postgresql $(PARALLEL) $(PYTEST_ARGS)

test-psycopg2: $(VENV) system ## Test on PostgreSQL with psycopg2, where the driver matters
	@$(COMPUTE) $(PYTEST) tests/db --backend postgresql-psycopg2 $(PYTEST_ARGS)

test-airflow32: $(VENV32) ## Test on Airflow 3.2, where the Airflow version matters
	@$(COMPUTE) $(PYTEST32) tests/db $(PYTEST_ARGS)
	@$(COMPUTE) $(PYTEST32) tests/views $(PYTEST_ARGS)
	@$(SUITE) $(PYTEST32) tests/cli $(PYTEST_ARGS)

test-views: $(VENV) ## Test the pages in Airflow's Flask app, with FAB and with SimpleAuthManager
	@$(COMPUTE) $(PYTEST) tests/views $(PARALLEL) $(PYTEST_ARGS)
	@$(COMPUTE) $(PYTEST) tests/views --auth simple $(PYTEST_ARGS)

test-auth: $(VENV) $(VENV32) ## Test each auth mode through Airflow's whole ASGI app
	@$(SUITE) $(PYTEST) tests/auth $(PYTEST_ARGS)
	@$(SUITE) $(PYTEST32) tests/auth $(PYTEST_ARGS)

test-cli: $(VENV) ## Test the command line against a running api-server
	@$(SUITE) $(PYTEST) tests/cli $(PYTEST_ARGS)

test-browser: $(VENV) system ## Test in Chromium against a running Airflow
	@$(SUITE) $(PYTEST) tests/browser $(PYTEST_ARGS)

test-soak: $(VENV) system ## Test clears and undos while a scheduler runs
	@$(SUITE) $(PYTEST) tests/soak --backend postgresql $(PYTEST_ARGS)

test-scheduler: $(VENV) system ## Test findings, estimates and outcomes against a real scheduler
	@$(SUITE) $(PYTEST) tests/scheduler --backend postgresql $(PYTEST_ARGS)
	@$(SUITE) $(PYTEST) tests/outcomes --backend postgresql $(PYTEST_ARGS)

test-celery: $(VENV) system ## Test clears and undos under two schedulers and Celery; after `uv sync --group celery`
	@$(SUITE) $(PYTEST) tests/soak/test_soak.py --backend postgresql --executor celery $(PYTEST_ARGS)

test-query-plans: $(VENV) system ## Test query plans and memory with a large history
	@$(COMPUTE) $(PYTEST) tests/query_plans --backend postgresql --auth simple $(PYTEST_ARGS)

test-package: $(VENV) ## Test the built wheel and sdist in clean environments
	@$(SUITE) $(PYTEST) tests/package $(PYTEST_ARGS)

test-deployments: $(VENV) ## Test pgbouncer, MariaDB and other deployments; with PYTEST_ARGS=--full
	@$(SUITE) $(PYTEST) tests/deployments $(PYTEST_ARGS)

test-python: | $(UV) ## Run unit and SQLite tests with another Python; PYTHON=3.13
	@python=$$(scripts/find-python "$(PYTHON)") && \
		UV_PROJECT_ENVIRONMENT=.venv-python$(PYTHON) $(UV) sync --locked --python "$$python"
	@$(SUITE) .venv-python$(PYTHON)/bin/pytest tests/unit tests/db $(PARALLEL) $(PYTEST_ARGS)

lint: $(VENV) ## Check formatting, lint, types and import contracts
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports

demo: $(VENV) ## Start Airflow with demo Dags and history; PORT=8080
	@.venv/bin/python demo/main.py --port $(PORT)

# More variables: see docs/performance.md.
bench: $(VENV) system ## Measure against Airflow's own ways; SIZES=1000,10000,100000
	@.venv/bin/python -m bench --sizes "$(SIZES)" --ops "$(OPS)" --parts "$(PARTS)" --runs "$(RUNS)" \
		--drivers "$(DRIVERS)" \
		--delay-ms "$(DELAY_MS)" --mapped "$(MAPPED)" --cap "$(CAP)"

clean: ## Remove everything that the other targets created, including the demo's data
	rm -rf .venv .venv-airflow32 .venv-python* .uv .demo build dist test-results .mypy_cache .ruff_cache .pytest_cache \
		.hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
