# Everything runs in a virtual environment of the project's own; only Python 3.11+ and make must be there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ROUNDS ?= 50
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: help demo test faults check format bench clean

help: ## Say what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.installed ## Set everything up, import the gallery, search it, and serve the page until Ctrl-C
	@exec $(BIN)/python -m demo

test: $(VENV)/.installed-dev ## Run the tests, on a real PostgreSQL and a real Redis of their own
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

faults: $(VENV)/.installed-dev ## Break a stack at work and check that nothing is lost: make faults ROUNDS=50 [SEED=7] [ONLY=poison,...]
	@$(BIN)/python -m tests.faults --rounds $(ROUNDS) $(if $(SEED),--seed $(SEED)) $(if $(ONLY),--only $(ONLY))

check: $(VENV)/.installed-dev ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed-dev ## Put the source into its one format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.installed-dev ## Measure: make bench NAME=ingest, or all of them without a name
	$(BIN)/python -m bench $(NAME)

clean: ## Remove what the targets above made, the demo's data included
	rm -rf $(VENV) .demo .mypy_cache .ruff_cache .pytest_cache build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@if [ "$$(id -u)" = 0 ]; then rm -rf /var/lib/clipgres-demo; fi  # where the demo of root lies

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "clipgres needs Python 3.11 or later; name one: make PYTHON=python3.12 demo")'
	$(PYTHON) -m venv $(VENV)

# PyTorch first and by its pinned release: what comes later finds it there and brings no other.
$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing into $(VENV); the first time takes a few minutes ..."
	$(PIP) torch
	$(PIP) --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) --editable '.[dev,notebook,parquet]'
	@touch $@
