PYTHON := $(if $(wildcard .venv/bin/python),.venv/bin/python,python3)
PYTEST := $(PYTHON) -m pytest -n auto --dist worksteal
DEFAULT_TIER = $(PYTEST) -p no:schemathesis -m "not ($(subst $() , or ,$(TIERS)))"
NODE := tests/clients/node
BUILT := src/fluxvision/http/page
ARGS ?=
MINUTES ?= 60
TIERS := flux ray browser client slow

# Tests start hundreds of processes: without the cache each of them compiles all that it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup clients litellm langchain moto ready check check-all static quick lint types docs-check node page types-page page-check test test-all $(TIERS:%=test-%) fuzz serve bench docs gallery format

setup:
	$(PYTHON) -m pip install -c constraints.txt -e '.[dev]'
	@if command -v npm >/dev/null; then $(MAKE) node; fi

# The clients that tests run, and what the page is built with.
node:
	npm install --prefix $(NODE) --no-package-lock --no-audit --no-fund
	npm ci --prefix web --no-audit --no-fund

# Installs what tests talk to and what would change the versions of everything in .venv.
clients: litellm langchain moto

# A proxy that stands in front of us.
litellm:
	@test -x .litellm/bin/litellm || { python3 -m venv .litellm \
		&& .litellm/bin/pip install --quiet --disable-pip-version-check 'litellm[proxy]==1.106.2'; }

# Programs that talk to language models.
langchain:
	@test -x .langchain/bin/llm || { python3 -m venv .langchain \
		&& .langchain/bin/pip install --quiet --disable-pip-version-check 'langchain-openai==1.7.4' 'llm==0.36'; }

# An S3 server. The extra "server" has the requirements of all services of AWS, three times as many.
moto:
	@test -x .moto/bin/moto_server || { python3 -m venv .moto \
		&& .moto/bin/pip install --no-compile --quiet --disable-pip-version-check 'moto[s3]==5.2.5' flask flask-cors; }

# Installs the development tools where they are missing.
ready:
	@$(PYTHON) -c 'import fal_client, hypothesis, mypy, obstore, openai, opentelemetry.exporter.otlp.proto.http, playwright, pytest, ruff, skimage, xdist' 2>/dev/null || $(MAKE) setup
	@test -d $(NODE)/node_modules/ai -a -d web/node_modules/openapi-typescript || ! command -v npm >/dev/null || $(MAKE) node

check: ready static test

check-all: ready static test-all

# What runs no test of Python, two at a time: each uses one processor.
static:
	$(MAKE) -j2 types page-check docs-check lint

lint:
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

types:
	$(PYTHON) -m mypy

docs-check:
	$(PYTHON) docs/generate.py --check

# The page as it ships, with its types made from the server's responses; users need no node.
page: types-page
	npm run --prefix web build

types-page:
	$(PYTHON) docs/openapi.py | npm run -s --prefix web types > web/src/lib/types.ts

# Types and tests of the page, that its types are the server's, and that the built files are those of its source.
page-check:
	@if command -v npm >/dev/null; then set -e; built=$$(mktemp -d); \
		$(PYTHON) docs/openapi.py | npm run -s --prefix web types | diff - web/src/lib/types.ts \
			|| { echo "The page's types are stale: make page."; exit 1; }; \
		npm run --prefix web check; npm test --prefix web; \
		(cd web && npx vite build --logLevel warn --emptyOutDir --outDir $$built); \
		diff -r $$built $(BUILT) || { echo 'The built page is stale: make page.'; exit 1; }; rm -r $$built; \
	else echo 'Without npm the page is not checked.'; fi

# The default tier: what has no marker. Naming files in ARGS runs them, whatever tier they are of, unless -m leaves it out.
test:
	$(DEFAULT_TIER) $(ARGS)

# One other tier: test-flux, test-ray, test-browser, test-client, test-slow.
$(TIERS:%=test-%): test-%:
	$(PYTEST) -m $* $(ARGS)

# All tiers in one run.
test-all:
	$(PYTEST) $(ARGS)

# Within a minute: lint, types, layers, and the default tier's tests of the modules that changed since `main`.
quick: lint types
	$(DEFAULT_TIER) $$($(PYTHON) tests/selection.py) $(ARGS)

# Hostile requests against a real server, for MINUTES; the same as `tests/fuzz/test_seeds.py`, longer and with new seeds.
fuzz:
	$(PYTHON) tests/fuzz/run.py --minutes $(MINUTES) $(ARGS)

serve:
	$(PYTHON) -m fluxvision serve

bench:
	$(PYTHON) bench/engine.py
	$(PYTHON) bench/quality.py

docs:
	$(PYTHON) docs/generate.py --write

# The pictures that come with the page.
gallery:
	$(PYTHON) docs/gallery.py

format:
	$(PYTHON) -m ruff check --select I --fix .
	$(PYTHON) -m ruff format .
