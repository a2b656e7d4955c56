# Every target sets up .venv by itself; only Python 3.11+ and make are needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN_STAMP := $(VENV)/.run-installed
DEV_STAMP := $(VENV)/.dev-installed
MUTANTS_STAMP := $(VENV)/.mutants-installed
BROWSER_STAMP := $(VENV)/.browser-installed
PIP_TOLD := $(BIN)/python -m pip --disable-pip-version-check
PIP := $(PIP_TOLD) --quiet

NPM := $(shell command -v npm 2>/dev/null)
BROWSER := $(shell for b in chromium chromium-browser google-chrome google-chrome-stable microsoft-edge; do command -v $$b; done 2>/dev/null | head -n 1)
PM2_STAMP := node_modules/.installed
# Away from what Lantern is tested with: one of their packages is a plugin of pytest, another changes how httpx asks.
CLIENTS := $(VENV)/clients
CLIENTS_STAMP := $(CLIENTS)/.installed

.PHONY: demo init run test nightly browser ops check bench bench-fleet discord-plays counts faults mutants format lock clean

demo: $(RUN_STAMP)
	@$(BIN)/lantern demo

init: $(RUN_STAMP)
	@$(BIN)/lantern init

run: $(RUN_STAMP)
	@$(BIN)/lantern run

# Where it is set, both workers compile every module anew, each time: 20 s.
test nightly: export PYTHONDONTWRITEBYTECODE :=
# Three workers for two cores: now and then a test waits, for a deadline or a socket.
test: $(DEV_STAMP)
	$(BIN)/python -m pytest -m "not ops and not browser" -n 3 --dist worksteal
	$(MAKE) browser

# The same with thousands of random examples for each property, 10,000 histories of the fleet: half an hour or more.
nightly: $(DEV_STAMP)
	$(BIN)/python -m pytest -m "not ops and not browser" --hypothesis-profile=nightly -n 2 --dist worksteal

# The dashboard in a real browser; without one it says so and goes on.
browser: $(DEV_STAMP) $(if $(BROWSER),$(BROWSER_STAMP))
ifeq ($(BROWSER),)
	@echo "No Chromium, Chrome or Edge is installed here: the tests of the dashboard's page are left out."
else
	$(BIN)/python -m pytest -m browser
endif

# Tests that start whole processes: they wait for the machine, so none runs beside them.
ops: $(DEV_STAMP) $(CLIENTS_STAMP) $(if $(NPM),$(PM2_STAMP))
	$(BIN)/python -m pytest -m ops

check: $(DEV_STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports
	$(MAKE) counts
	$(MAKE) test
	$(MAKE) ops

bench: $(DEV_STAMP)
	$(BIN)/python -m bench

# Routing, played in virtual time beside the ways of others: docs/routing.md. PLAY="small-busy-2 --each" for a part.
bench-fleet: $(DEV_STAMP)
	$(BIN)/python -m bench.fleet $(PLAY)

# Lantern as people in Discord see it, played before a stand-in for Discord: STANDIN is the folder of its package,
# PLAY="surface faults.gateway_cut" for a part, STANDIN_PYTHON an interpreter that has what the stand-in needs.
discord-plays: $(DEV_STAMP)
	$(BIN)/python -m bench.discord $(STANDIN) $(PLAY)

# Every row of docs/reliability.md, played several times: TRIES=10 for more.
faults: $(DEV_STAMP)
	$(BIN)/python -m bench.faults $(TRIES)

# The size of the house beside what it may be: rooms, floors, classes, functions, comments; fails beyond it.
counts: $(DEV_STAMP)
	$(BIN)/python -m bench.counts

# Faults the tests would not find: all rooms, or one by `make mutants ROOM=policy`; FRESH=1 forgets earlier kills.
mutants: $(MUTANTS_STAMP)
	$(BIN)/python -m bench.mutants $(ROOM) $(if $(FILE),--file $(FILE)) $(if $(FRESH),--fresh)

format: $(DEV_STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Names, versions and hashes only: no index address is written.
lock:
	uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --upgrade --output-file requirements.lock
	uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --upgrade --output-file requirements-dev.lock
	uv pip compile --group pyproject.toml:mutants --constraint requirements-dev.lock --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --upgrade --output-file requirements-mutants.lock
	uv pip compile --group pyproject.toml:browser --constraint requirements-dev.lock --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --upgrade --output-file requirements-browser.lock
	uv pip compile --group pyproject.toml:clients --constraint requirements-dev.lock --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --upgrade --output-file requirements-clients.lock

clean:
	rm -rf $(VENV) node_modules .pytest_cache .ruff_cache .hypothesis .mutants

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Lantern needs Python 3.11 or newer; set PYTHON=/path/to/python3.11")'
	@echo "Setting up $(VENV) (once) ..."
	@$(PYTHON) -m venv $(VENV)

# Told as it goes: pip with --quiet was forty seconds of nothing, right after "make demo".
$(RUN_STAMP): $(VENV)/bin/python requirements.lock pyproject.toml
	@echo "Installing Lantern's packages (a minute or so, once) ..."
	@$(PIP_TOLD) install --progress-bar off --require-hashes -r requirements.lock
	@$(PIP) install --no-deps --editable .
	@touch $@

$(DEV_STAMP): $(RUN_STAMP) requirements-dev.lock
	@$(PIP) install --require-hashes -r requirements-dev.lock
	@touch $@

$(MUTANTS_STAMP): $(DEV_STAMP) requirements-mutants.lock
	@$(PIP) install --require-hashes -r requirements-mutants.lock
	@touch $@

$(BROWSER_STAMP): $(DEV_STAMP) requirements-browser.lock
	@$(PIP) install --require-hashes -r requirements-browser.lock
	@touch $@

# langchain-openai and llm, for their tests alone, which else are skipped.
$(CLIENTS_STAMP): requirements-clients.lock | $(VENV)/bin/python
	@$(BIN)/python -m venv $(CLIENTS)
	@if $(CLIENTS)/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r requirements-clients.lock; then touch $@; else echo "The gateway's clients of Python could not be installed; their tests will be skipped"; fi

# The real PM2 and the gateway's clients of Node, for their tests alone, which else are skipped.
$(PM2_STAMP): package-lock.json
	@if $(NPM) ci --ignore-scripts --no-audit --no-fund --fetch-retries=1 --silent; then touch $@; else echo "npm could not install PM2 and clients; their tests will be skipped"; fi
