# `make demo` and `make test` need Python 3.10-3.12 with pip, git and make; all else is installed into .venv.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.built-from
# What the environment was built from: it is stale when any of these contents changes.
INPUTS := requirements.lock pyproject.toml
WANT := $(shell { cat $(INPUTS); $(PYTHON) --version; } | sha256sum | cut -c1-64)
HAVE := $(shell cat $(STAMP) 2>/dev/null)

.PHONY: env stamp demo test test-slow check format lock clean
.DEFAULT_GOAL := test

env:
ifneq ($(WANT),$(HAVE))
	@echo "building $(VENV) from requirements.lock (a few GB with torch; about five minutes)"
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@echo $(WANT) > $(STAMP)
endif

# For whoever changed the lock and brought .venv up to it by hand.
stamp:
	@echo $(WANT) > $(STAMP)

demo: env
	$(BIN)/tst demo

check: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: check
	$(BIN)/pytest

# The laws that take minutes each; CI runs them too.
test-slow: env
	$(BIN)/pytest -m slow

format: env
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Rewrites the lock: every pinned package with its hashes, and no registry address. No `env`: a changed
# pyproject.toml has made it stale, and it is the new lock that it must be rebuilt from.
lock:
	$(BIN)/uv pip compile --universal --python-version 3.10 --extra train --extra dev --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" -o requirements.lock pyproject.toml

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache build *.egg-info
