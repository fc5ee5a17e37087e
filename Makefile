BIN := .venv/bin
UV ?= uv
# Files run side by side, each in one process; more than the cores have to do only costs start-up.
PYTEST ?= $(BIN)/pytest -n 2 --dist loadfile
# These mostly wait, each for servers of its own.
PYTEST_FAULTS ?= $(BIN)/pytest -n 6 --dist worksteal
export PYTHON

.PHONY: run test test-faults fuzz lint bench lock dev

run: ## Install what is needed and start the server
	@scripts/venv requirements.txt
	@exec $(BIN)/python manage.py serve

test: lint ## Everything that must hold: style, types, imports, tests
	$(PYTEST)
	@if [ -n "$$KANBAN_TEST_DATABASE_URL$$KANBAN_TEST_REDIS_URL" ]; then \
		echo "Again on the servers of KANBAN_TEST_DATABASE_URL and KANBAN_TEST_REDIS_URL"; \
		KANBAN_TEST_ON=servers $(PYTEST) -m both_databases; \
	fi

test-faults: dev ## Dying servers and processes, on both databases; KANBAN_TEST_FAULT_ROUNDS=20 for a tenth
	$(PYTEST_FAULTS) -m faults tests/faults

fuzz: dev ## Many requests of every kind, each time others; KANBAN_TEST_EXAMPLES says how many an operation
	KANBAN_TEST_EXAMPLES=$${KANBAN_TEST_EXAMPLES:-200} $(PYTEST) --dist worksteal tests/fuzz

lint: dev
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	@scripts/check-migrations

bench: dev ## The product's figures beside their targets
	$(BIN)/python -m tests.bench

dev:
	@scripts/venv requirements.txt requirements-dev.txt

lock: ## Resolve both lock files anew, for every Python and platform (needs uv)
	@command -v $(UV) >/dev/null || { echo "uv is not on PATH; install it or name it: make lock UV=/path/to/uv" >&2; exit 1; }
	$(UV) pip compile --quiet --upgrade --universal --generate-hashes --no-header --python-version 3.11 \
		--output-file requirements.txt pyproject.toml
	$(UV) pip compile --quiet --upgrade --universal --generate-hashes --no-header --python-version 3.11 \
		--constraints requirements.txt --group dev --output-file requirements-dev.txt
