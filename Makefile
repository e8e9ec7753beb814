# `make demo` and `make test` need Python 3.10-3.12 with pip, git and make; all else is installed into .venv.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.built-from
# What the environment was built from: it is stale when any of these contents changes.
INPUTS := requirements.lock pyproject.toml
WANT := $(shell { cat $(INPUTS); $(PYTHON) --version; } | sha256sum | cut -c1-64)
HAVE := $(shell cat $(STAMP) 2>/dev/null)

# LLM Foundry 0.22 pins other versions of streaming and transformers: an environment and a lock of its own.
FOUNDRY := .venv-foundry
FOUNDRY_STAMP := $(FOUNDRY)/.built-from
FOUNDRY_WANT := $(shell { cat requirements-foundry.lock pyproject.toml; $(PYTHON) --version; } | sha256sum | cut -c1-64)
FOUNDRY_HAVE := $(shell cat $(FOUNDRY_STAMP) 2>/dev/null)

# lm-evaluation-harness likewise: `tst eval` and its tests run there.
EVAL := .venv-eval
EVAL_STAMP := $(EVAL)/.built-from
EVAL_WANT := $(shell { cat requirements-eval.lock pyproject.toml; $(PYTHON) --version; } | sha256sum | cut -c1-64)
EVAL_HAVE := $(shell cat $(EVAL_STAMP) 2>/dev/null)

# Ray is for clusters alone.
RAY := .venv-ray
RAY_STAMP := $(RAY)/.built-from
RAY_WANT := $(shell { cat requirements-ray.lock pyproject.toml; $(PYTHON) --version; } | sha256sum | cut -c1-64)
RAY_HAVE := $(shell cat $(RAY_STAMP) 2>/dev/null)

.PHONY: env stamp demo test test-slow check format lock foundry-env foundry-lock test-foundry eval-env eval-lock test-eval
.PHONY: ray-env ray-lock test-ray clean
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

# uv and not pip: in hash mode pip 23 refuses LLM Foundry's requirements with extras.
foundry-env: env
ifneq ($(FOUNDRY_WANT),$(FOUNDRY_HAVE))
	@echo "building $(FOUNDRY) from requirements-foundry.lock (a few GB with torch)"
	$(BIN)/uv venv --quiet --clear --python $(PYTHON) $(FOUNDRY)
	VIRTUAL_ENV=$(FOUNDRY) $(BIN)/uv pip install --quiet --require-hashes -r requirements-foundry.lock
	VIRTUAL_ENV=$(FOUNDRY) $(BIN)/uv pip install --quiet --no-deps --no-build-isolation -e .
	@echo $(FOUNDRY_WANT) > $(FOUNDRY_STAMP)
endif

foundry-lock:
	UV_PYTHON_DOWNLOADS=never $(BIN)/uv pip compile --universal --python-version 3.10 --extra llmfoundry --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --custom-compile-command "make foundry-lock" \
	  -o requirements-foundry.lock pyproject.toml

# Real LLM Foundry runs from YAML; their environment is no part of `make test`.
test-foundry: foundry-env
	$(FOUNDRY)/bin/python -m pytest -c tests/foundry/pytest.ini tests/foundry

eval-env: env
ifneq ($(EVAL_WANT),$(EVAL_HAVE))
	@echo "building $(EVAL) from requirements-eval.lock (a few GB with torch)"
	$(BIN)/uv venv --quiet --clear --python $(PYTHON) $(EVAL)
	VIRTUAL_ENV=$(EVAL) $(BIN)/uv pip install --quiet --require-hashes -r requirements-eval.lock
	VIRTUAL_ENV=$(EVAL) $(BIN)/uv pip install --quiet --no-deps --no-build-isolation -e .
	@echo $(EVAL_WANT) > $(EVAL_STAMP)
endif

eval-lock:
	$(BIN)/uv pip compile --universal --python-version 3.10 --extra eval --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --custom-compile-command "make eval-lock" \
	  -o requirements-eval.lock pyproject.toml

# Real evaluations with lm-evaluation-harness; their environment is no part of `make test`.
test-eval: eval-env
	$(EVAL)/bin/python -m pytest -c tests/evaluation/pytest.ini tests/evaluation

ray-env: env
ifneq ($(RAY_WANT),$(RAY_HAVE))
	@echo "building $(RAY) from requirements-ray.lock"
	$(BIN)/uv venv --quiet --clear --python $(PYTHON) $(RAY)
	VIRTUAL_ENV=$(RAY) $(BIN)/uv pip install --quiet --require-hashes -r requirements-ray.lock
	VIRTUAL_ENV=$(RAY) $(BIN)/uv pip install --quiet --no-deps --no-build-isolation -e .
	@echo $(RAY_WANT) > $(RAY_STAMP)
endif

ray-lock:
	$(BIN)/uv pip compile --universal --python-version 3.10 --extra ray --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --custom-compile-command "make ray-lock" \
	  -o requirements-ray.lock pyproject.toml

# A local cluster of two nodes; its environment is no part of `make test`.
test-ray: ray-env
	$(RAY)/bin/python -m pytest -c tests/on_ray/pytest.ini tests/on_ray

clean:
	rm -rf $(VENV) $(FOUNDRY) $(EVAL) $(RAY) .mypy_cache .ruff_cache .pytest_cache build *.egg-info
