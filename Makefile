# make demo   a whole store on this machine, with its page       make test   every test
# make setup  what both need, in .venv                           make lint   ruff and mypy

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
DEMO := hub,dev
TESTS := train,s3,s3-server
# One more than there are cores: many tests wait for processes.
WORKERS := $(shell expr $$(nproc) + 1)
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# uv takes a sixth of pip's time; where it finds a package in no index that it knows, pip may.
INSTALL = $(BIN)/uv pip install --python $(BIN)/python --editable '.[$(1)]' || $(PIP) install --editable '.[$(1)]'
export PYTHON
# Dozens of processes of the demo and the tests read the same sources.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup train demo test lint clean

setup: $(VENV)/.setup

train: $(VENV)/.train

demo: setup
	$(BIN)/shelfgate demo $(ARGS)

test: setup train
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache

$(VENV)/.setup: setup.cfg pyproject.toml tools/system-packages.sh
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "shelfgate needs Python 3.11 or newer: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	tools/system-packages.sh
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	test -x $(BIN)/uv || $(PIP) install 'uv>=0.9'
	$(call INSTALL,$(DEMO))
	@touch $@

$(VENV)/.train: $(VENV)/.setup
	tools/system-packages.sh tests
	$(call INSTALL,$(TESTS))
	@touch $@
