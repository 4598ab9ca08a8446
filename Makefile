# `make try` shows a status on the sandbox, `make test` passes the tests; both need only Python 3.10 or newer.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: try dev lint test bench regold archive clean

try: $(BIN)/kubectl-imagecache
	$(BIN)/kubectl-imagecache status --sandbox

$(BIN)/kubectl-imagecache: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable .
	@touch $@

dev: $(BIN)/pytest

$(BIN)/pytest: $(BIN)/kubectl-imagecache
	$(BIN)/pip install --quiet --editable '.[test,dev]'
	@touch $@

lint: dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test: dev
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

bench: dev
	for name in startup status_scale pulls_scale roll_scale builder rebuild_wait; do $(BIN)/python -m benchmarks.$$name || exit 1; done

regold: dev
	$(BIN)/python -m pytest tests --regold

archive: dev
	$(BIN)/python scripts/build_archive.py --out dist

clean:
	rm -rf $(VENV) build dist *.egg-info
