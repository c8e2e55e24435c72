# Everything a clone needs, from Python 3.11, make and a package index.
#
#   make demo    replay a year of flights and watch the answers
#   make test    every test, a process for each core (ARGS="-n 0": in one)
#   make check   linters, types, layers
#   make bench   measure           make clean   remove what was built
#   make fuzz    nonsense through every door, for longer than in the tests, or EXAMPLES=N of it
#   make oracle  random queries against batch, for five minutes or ARGS="--seconds N"
#   make kill    kill -9 under load, fifty times or ARGS="--kills N --seed S"
#   make soak    steady load for an hour, or ARGS="--minutes N": does anything grow?
#   make simulate  crashes, full and failing disks: ten thousand seeds or ARGS="--count N"

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
READY := .venv/.ready

.DEFAULT_GOAL := help
.PHONY: help setup browser postgres demo test check format bench oracle fuzz simulate soak kill clean

help:
	@sed -n 's/^#   //p' Makefile

setup: $(READY)

# The stamp is written last: an install that broke off is done again.
$(READY): pyproject.toml
	@test -n "$(PYTHON)" || { echo "No Python found: install Python 3.11 or later." >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "$(PYTHON) is too old: install Python 3.11 or later, or make PYTHON=..." >&2; exit 1; }
	test -x $(BIN)/python || "$(PYTHON)" -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,postgres,delta]'
	@touch $(READY)

browser:
	@tools/install_browser

postgres:
	@tools/install_postgres

demo: setup
	$(BIN)/headwater demo $(ARGS)

test: setup browser postgres
	$(BIN)/pytest -n logical --dist worksteal $(ARGS)

check: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: setup
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

oracle: setup
	PYTHONPATH=tests $(BIN)/python -m replay.sweep $(ARGS)

simulate: setup
	PYTHONPATH=tests $(BIN)/python -m simulation.run $(ARGS)

kill: setup
	PYTHONPATH=tests $(BIN)/python -m crashes.kill $(ARGS)

EXAMPLES ?= 2000
fuzz: setup
	HEADWATER_FUZZ_EXAMPLES=$(EXAMPLES) $(BIN)/pytest tests/serve/test_fuzz.py \
		tests/serve/test_fuzz_sql.py $(ARGS)

soak: setup
	$(BIN)/python -m bench.soak $(ARGS)

bench: setup
	$(BIN)/python bench/first.py $(ARGS)

clean:
	rm -rf .venv build dist src/*.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache \
		.import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
