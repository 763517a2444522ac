# `make demo` and `make test` do all the set-up on a machine with Python >= 3.11.
PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready

.PHONY: demo test check clean

demo: $(READY)
	$(VENV)/bin/elusive run recipes/demo.toml

test: $(READY)
	$(VENV)/bin/python -m pytest -n 2

check: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/pyright --pythonpath $(VENV)/bin/python

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Elusive needs Python >= 3.11, this is " + sys.version.split()[0] + ". Name another one: make PYTHON=python3.12 demo")'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	touch $(READY)

clean:
	rm -rf $(VENV) runs build *.egg-info src/*.egg-info
