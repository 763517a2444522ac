# `make demo` and `make test` do all the set-up on a machine with Python >= 3.11.
PYTHON ?= python3
VENV := .venv
INSTALL = $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e

.PHONY: demo test check campaign wheel docs clean

demo: $(VENV)/.ready
	$(VENV)/bin/elusive demo

test: $(VENV)/.ready-test
	$(VENV)/bin/python -m pytest -n 2

check: $(VENV)/.ready-test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports
	$(VENV)/bin/codespell
	$(VENV)/bin/pyright --pythonpath $(VENV)/bin/python
	$(VENV)/bin/python -m pytest tests/test_docs.py

# Random searches for faults, each on a core of its own: commands that are killed, and inputs that are damaged.
# Offline: the damaged name of a model is looked for on the hub otherwise, which may take longer than an input may.
MINUTES ?= 10
campaign: $(VENV)/.ready-test
	@for name in killer fuzzer; do \
	    HF_HUB_OFFLINE=1 $(VENV)/bin/python -m tests.campaigns.$$name --minutes $(MINUTES) & started="$$started $$!"; \
	done; \
	for one in $$started; do wait $$one || failed=1; done; exit $${failed:-0}

# The built package, tried in an environment of its own.
wheel: $(VENV)/.ready-test
	.ci/wheel

# The site, in build/site: warnings are errors.
docs: $(VENV)/.ready-docs
	$(VENV)/bin/python site/build.py build/site

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Elusive needs Python >= 3.11, this is " + sys.version.split()[0] + ". Name another one: make PYTHON=python3.12 demo")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.ready: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(INSTALL) .
	touch $@

# The libraries that exports and imports are checked with come along.
$(VENV)/.ready-test: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(INSTALL) '.[test]'
	touch $@

$(VENV)/.ready-docs: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(INSTALL) '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) runs build *.egg-info src/*.egg-info
