PYTHON := $(if $(wildcard .venv/bin/python),.venv/bin/python,python3)
NODE := tests/clients/node
ARGS ?=

.PHONY: setup clients ready check lint types docs-check test serve bench docs format

setup:
	$(PYTHON) -m pip install -c constraints.txt -e '.[dev]'
	@if command -v npm >/dev/null; then npm install --prefix $(NODE) --no-package-lock --no-audit --no-fund; fi

# Installs the proxy that stands in front of us in a test; it would change the versions of everything in .venv.
clients:
	@test -x .litellm/bin/litellm || { python3 -m venv .litellm \
		&& .litellm/bin/pip install --quiet --disable-pip-version-check 'litellm[proxy]==1.106.2'; }

# Installs the development tools where they are missing.
ready:
	@$(PYTHON) -c 'import fal_client, hypothesis, mypy, openai, pytest, ruff, skimage' 2>/dev/null || $(MAKE) setup
	@test -d $(NODE)/node_modules/ai || ! command -v npm >/dev/null \
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
