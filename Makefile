# metroline: every target sets itself up. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DO_NOT_TRACK = 1
export DVC_NO_ANALYTICS = 1
export BENTOML_DO_NOT_TRACK = True
export PREFECT_SERVER_ANALYTICS_ENABLED = false

.DEFAULT_GOAL := help
.PHONY: help setup demo test peers lint format bench clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

$(VENV)/.installed: pyproject.toml constraints.txt setup.py $(wildcard serving/native/*.[ch])
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	  || { echo "metroline needs Python 3.11, 3.12 or 3.13: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@echo "installing the pinned packages into $(VENV): minutes, once"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --upgrade pip
	@PYTHONWARNINGS=ignore $(BIN)/pip install $$([ -t 2 ] || echo --quiet) --constraint constraints.txt --editable '.[dev]'
	@ls serving/native/kernels*.so >/dev/null 2>&1 || echo "serving's C kernels were not built, it will be slower: metroline doctor"
	@touch $@

setup: $(VENV)/.installed ## create .venv with the pinned packages

demo: setup ## fetch, prepare, train, evaluate, export, release and serve; then answer one real request (ONCE=1: and exit)
	@metroline demo $(if $(ONCE),--once)

# Small models: one thread each is as fast, and threads that wait for each other on busy cores are many times slower.
# The whole suite runs in two processes, a file at a time; what ARGS names runs in one.
test: setup ## run the test suite
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} pytest $(if $(ARGS),$(ARGS),-n 2 --dist loadfile)

peers: setup ## add what some tests compare with: transformers, peft, and the weights of two recipes
	@PYTHONWARNINGS=ignore pip install --quiet --constraint constraints.txt --editable '.[dev,peers]'
	@metroline stage fetch smollm2
	@metroline stage fetch sst2-minilm

lint: setup ## ruff, mypy, import-linter; oxlint and djlint for the playground
	@ruff check . && ruff format --check . && mypy && lint-imports && oxlint serving/web && djlint --lint --quiet serving/web

format: setup ## let ruff rewrite the code
	@ruff check --fix . ; ruff format .

bench: setup ## run every benchmark that fits this machine; each prints one JSON line last
	@python -m benchmarks

clean: ## remove what was built here, but not the DVC cache
	rm -rf $(VENV) artifacts data/raw data/prepared dist
