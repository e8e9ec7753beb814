# `make demo` and `make test` need Python 3.10-3.12 with pip, git and make; all else is installed into .venv.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.built-from
# What the environment was built from: it is stale when any of these contents changes.
INPUTS := requirements.lock pyproject.toml
WANT := $(shell { cat $(INPUTS); $(PYTHON) --version; } | sha256sum | cut -c1-64)
HAVE := $(shell cat $(STAMP) 2>/dev/null)

# Environments beside it, NAME:EXTRA:TESTS each, for what `make test` does without: LLM Foundry 0.22 pins other
# versions of streaming and transformers, lm-evaluation-harness brings a hundred packages, Ray is for clusters.
BESIDE := foundry:llmfoundry:foundry eval:eval:evaluation ray:ray:on_ray

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

# NAME-env, NAME-lock and test-NAME of each. uv and not pip: in hash mode pip 23 refuses LLM Foundry's extras.
define environment
.PHONY: $(1)-env $(1)-lock test-$(1)

$(1)-env: env
	@wanted=$$$$({ cat requirements-$(1).lock pyproject.toml; $(PYTHON) --version; } | sha256sum | cut -c1-64); \
	if [ "$$$$wanted" = "$$$$(cat .venv-$(1)/.built-from 2>/dev/null)" ]; then exit; fi; set -e; \
	echo "building .venv-$(1) from requirements-$(1).lock (a few GB where torch is in it)"; \
	$(BIN)/uv venv --quiet --clear --python $(PYTHON) .venv-$(1); \
	export VIRTUAL_ENV=.venv-$(1); \
	$(BIN)/uv pip install --quiet --require-hashes -r requirements-$(1).lock; \
	$(BIN)/uv pip install --quiet --no-deps --no-build-isolation -e .; \
	echo $$$$wanted > .venv-$(1)/.built-from

$(1)-lock:
	UV_PYTHON_DOWNLOADS=never $(BIN)/uv pip compile --universal --python-version 3.10 --extra $(2) --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --custom-compile-command "make $(1)-lock" \
	  -o requirements-$(1).lock pyproject.toml

test-$(1): $(1)-env
	.venv-$(1)/bin/python -m pytest -c tests/$(3)/pytest.ini tests/$(3)
endef
$(foreach one,$(BESIDE),$(eval $(call environment,$(word 1,$(subst :, ,$(one))),$(word 2,$(subst :, ,$(one))),$(word 3,$(subst :, ,$(one))))))

clean:
	rm -rf $(VENV) $(VENV)-* .mypy_cache .ruff_cache .pytest_cache build *.egg-info
