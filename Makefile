# Needs make and Python 3.10 or newer, for the tests 3.13 at most; everything else is installed into .venv and .venv-dev here.

PYTHON ?= python3
SOURCES := edge converter trainer samples docs tests benchmarks
VENV := .venv
DEV := .venv-dev

.PHONY: help demo test lint types contracts pytest check-docs docs test-arm test-windows clean

help:
	@echo 'make demo        install the device kit into $(VENV) and scan samples/'
	@echo 'make test        install everything into $(DEV); lint, types, import contracts, tests, docs'
	@echo 'make lint        ruff alone'
	@echo 'make check-docs  the docs say what the program does'
	@echo 'make docs        write docs/cli.md and docs/reasons.md again from the program'
	@echo 'make test-arm    the kit for a Raspberry Pi, 64 and 32 bits, under qemu (see docs/devices.md)'
	@echo 'make test-windows  the kit for Windows and the tests of the device, under Wine (see docs/devices.md)'
	@echo 'make clean       remove what these made, but no results of a scan'

demo: $(VENV)/.installed
	$(VENV)/bin/edge-xray scan samples

test: lint types contracts pytest check-docs

lint: $(DEV)/.installed
	$(DEV)/bin/ruff check $(wildcard $(SOURCES))
	$(DEV)/bin/ruff format --check $(wildcard $(SOURCES))

types: $(DEV)/.installed
	$(DEV)/bin/mypy --platform linux
	$(DEV)/bin/mypy --platform win32
	$(DEV)/bin/mypy --platform darwin

contracts: $(DEV)/.installed
	$(DEV)/bin/lint-imports

pytest: $(DEV)/.installed
	$(DEV)/bin/python -m pytest -n 2 --dist worksteal -q

check-docs: $(DEV)/.installed
	$(DEV)/bin/python docs/make_reference.py --check

docs: $(DEV)/.installed
	$(DEV)/bin/python docs/make_reference.py

test-arm: $(DEV)/.installed
	PYTHON=$(DEV)/bin/python tests/arm/run rpi64
	PYTHON=$(DEV)/bin/python tests/arm/run rpi32

test-windows: $(DEV)/.installed
	PYTHON=$(DEV)/bin/python tests/windows/run

# The stamp is written last, so an install that was interrupted is done again.
%/.installed: pyproject.toml | %/bin/python
	$*/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[$(EXTRAS)]'
	touch $@

$(VENV)/.installed: EXTRAS := dicom
$(DEV)/.installed: EXTRAS := dev
# Tensorflow has no wheel for a newer one.
$(DEV)/.installed: NEWEST := 13

.PRECIOUS: %/bin/python %/.installed
%/bin/python:
	@$(PYTHON) -c 'import sys; (3, 10) <= sys.version_info[:2] <= (3, $(or $(NEWEST),99)) or sys.exit("$(PYTHON) is Python " + sys.version.split()[0] + "; $* needs 3.10 $(if $(NEWEST),to 3.$(NEWEST),or newer). Name one: make PYTHON=python3.11 $(MAKECMDGOALS)")'
	$(PYTHON) -m venv --clear $*

clean:
	rm -rf $(VENV) $(DEV) build dist
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find $(wildcard $(SOURCES)) -name __pycache__ -type d -prune -exec rm -rf {} +
