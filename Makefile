# Two commands: `make run` shows what warmbars does, `make test` proves it. Both set themselves up.
PYTHON ?= python3
BIN := .venv/bin
UV := 0.13.9

.DEFAULT_GOAL := help
.PHONY: help run test soak lint format bench-env lock clean

help:            ## this list
	@grep -E '^[a-z.-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 12

.venv: .venv/installed

.venv/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("warmbars needs Python 3.11 or newer; name one with: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -qq --disable-pip-version-check uv==$(UV)
	@echo "installing the locked dependencies (about 1.2 GB) ..."
	@VIRTUAL_ENV=.venv $(BIN)/uv pip sync --quiet --require-hashes requirements.lock
	@VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

run: .venv       ## ingest a simulated market, refresh, publish, and show it
	@$(BIN)/warmbars run

test: .venv lint ## everything CI checks, under ten minutes
	$(BIN)/python -m pytest -m "not soak" -n 2 --dist loadfile

soak: .venv      ## the long suites; their dated result belongs in benchmarks/RESULTS.md
	WARMBARS_TEST_EXAMPLES=random $(BIN)/python -m pytest -m soak --timeout=3600

lint: .venv      ## ruff, mypy --strict, the import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: .venv    ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench-env: .venv-bench/installed .venv-qlib/installed ## the peers of `.venv-bench/bin/python -m benchmarks transforms`

.venv-bench/installed: benchmarks/requirements.lock pyproject.toml | .venv
	$(PYTHON) -m venv .venv-bench
	@VIRTUAL_ENV=.venv-bench $(BIN)/uv pip sync --quiet --require-hashes benchmarks/requirements.lock
	@VIRTUAL_ENV=.venv-bench $(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

.venv-qlib/installed: benchmarks/pyqlib.lock | .venv
	$(PYTHON) -m venv .venv-qlib
	@echo "installing pyqlib and what it needs (about 1.1 GB) ..."
	@VIRTUAL_ENV=.venv-qlib $(BIN)/uv pip sync --quiet --require-hashes benchmarks/pyqlib.lock
	@touch $@

LOCK := uv pip compile --universal --python-version 3.11 --generate-hashes --no-strip-extras --no-header \
	--no-annotate --quiet

lock:            ## pin every dependency again (needs uv)
	$(LOCK) pyproject.toml --extra prefect --extra forecast --group dev --output-file requirements.lock
	$(LOCK) pyproject.toml --extra prefect --extra forecast --extra bench --group dev \
		--constraint requirements.lock --output-file benchmarks/requirements.lock
	$(LOCK) benchmarks/pyqlib.in --output-file benchmarks/pyqlib.lock

clean:           ## remove what the set-up made; your data in .warmbars stays
	rm -rf .venv .venv-bench .venv-qlib build dist *.egg-info
