PYTHON := $(if $(wildcard .venv/bin/python),.venv/bin/python,python3)
NODE := tests/clients/node
ARGS ?=

.PHONY: setup ready check lint types docs-check test serve bench docs format

setup:
	$(PYTHON) -m pip install -c constraints.txt -e '.[dev]'
	@if command -v npm >/dev/null; then npm install --prefix $(NODE) --no-package-lock --no-audit --no-fund; fi

# Installs the development tools where they are missing.
ready:
	@$(PYTHON) -c 'import hypothesis, mypy, openai, pytest, ruff, skimage' 2>/dev/null || $(MAKE) setup
	@test -d $(NODE)/node_modules/openai || ! command -v npm >/dev/null \
		|| npm install --prefix $(NODE) --no-package-lock --no-audit --no-fund

check: ready lint types docs-check test

lint:
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

types:
	$(PYTHON) -m mypy

docs-check:
	$(PYTHON) docs/generate.py --check

test:
	$(PYTHON) -m pytest $(ARGS)

serve:
	$(PYTHON) -m fluxvision serve

bench:
	$(PYTHON) bench/engine.py
	$(PYTHON) bench/quality.py

docs:
	$(PYTHON) docs/generate.py --write

format:
	$(PYTHON) -m ruff check --select I --fix .
	$(PYTHON) -m ruff format .
