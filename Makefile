# What people type. `make run` needs git and Python 3.11 or newer, nothing else.

PYTHON ?= $(shell for name in python3.14 python3.13 python3.12 python3.11 python3; do \
	command -v $$name >/dev/null 2>&1 && $$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	2>/dev/null && echo $$name && break; done)
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test lint bench lock clean

run: $(VENV)/.installed
	@exec $(BIN)/python manage.py serve

test: lint
	@$(BIN)/pytest tests --ignore=tests/process --ignore=tests/serving --ignore=tests/realtime -n 2 --dist loadfile -q
	@$(BIN)/pytest tests/realtime tests/serving tests/process -q
	@if [ -n "$$KANBAN_TEST_DATABASE_URL" ]; then \
		echo "Again on PostgreSQL and Redis:"; \
		KANBAN_TEST_ON=servers $(BIN)/pytest tests -m both_databases -q; \
	fi

lint: $(VENV)/.installed-dev
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@KANBAN_DATA_DIR=/nonexistent $(BIN)/python manage.py makemigrations --check --dry-run

bench: $(VENV)/.installed-dev
	@$(BIN)/python -m tests.bench $(FIGURES)

# Both lock files; no address of a registry gets into them.
lock:
	uv pip compile --universal --generate-hashes --no-header --python-version 3.11 \
		pyproject.toml -o requirements.txt
	uv pip compile --universal --generate-hashes --no-header --python-version 3.11 \
		-c requirements.txt --group dev -o requirements-dev.txt

$(VENV)/.installed: requirements.txt
	@if [ -z "$(PYTHON)" ]; then \
		echo "kanban-agents: Python 3.11 or newer is needed; install it, or name it: make run PYTHON=/path/to/python3" >&2; \
		exit 1; \
	fi
	@command -v git >/dev/null || { echo "kanban-agents: git is needed; install it first" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "kanban-agents: this Python has no venv module; on Debian and Ubuntu: apt install python3-venv" >&2; \
		exit 1; }
	@test -x $(BIN)/python || { echo "Making a virtual environment in $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "Installing what is needed (once for each new version)"
	@$(BIN)/python -m pip install --disable-pip-version-check --require-hashes -r requirements.txt
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.txt
	@echo "Installing the tools"
	@$(BIN)/python -m pip install --disable-pip-version-check -q --require-hashes -r requirements-dev.txt
	@touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
