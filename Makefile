# Everything a newcomer needs: `make up` and `make test`. `make` alone lists the rest.
.DEFAULT_GOAL := help
SHELL := /bin/sh
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV := .venv/bin
SOURCES := shared/src gateway/src auth-service/src chat-service/src knowledge-service/src \
  notification-service/src task-worker/src cli/src deploy/local/src
MEMBERS := shared gateway auth-service chat-service knowledge-service notification-service task-worker cli deploy/local
OURS := multidb-shared=shared,multidb-local=local_stack
# options for the command behind a target: make up ARGS="--replicas chat-service=2"
ARGS ?=

.PHONY: help install up down status logs doctor test lint check fmt bench load overload logins chaos fuzz quality docs lock clean

help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: ## Bring .venv up to date with requirements.lock (does nothing when it is)
	@$(PYTHON) deploy/local/install.py

up: install ## Start the whole stack; returns after the first answer and prints the address last
	@$(VENV)/faq up $(ARGS)

down: ## Stop the whole stack; data stays in .multidb (MULTIDB_HOME)
	@if [ -x $(VENV)/faq ]; then $(VENV)/faq down; fi

status: ## Show every process of the stack
	@$(VENV)/faq status

logs: ## Follow the logs of all processes
	@$(VENV)/faq logs --follow $(ARGS)

doctor: install ## Look at what the stack needs of this machine, with the fix for what is missing
	@$(VENV)/faq doctor

test: install ## Run every test on real engines, which are started once
	@$(VENV)/pytest $(ARGS)

lint: install ## Check style, types, import rules, images and generated documents
	@$(VENV)/ruff check .
	@$(VENV)/ruff format --check --quiet .
	@$(VENV)/mypy $(SOURCES)
	@$(VENV)/lint-imports
	@for member in $(MEMBERS); do \
	  found=$$(cd $$member && $(CURDIR)/$(VENV)/deptry --no-ansi --package-module-name-map "$(OURS)" src 2>&1) || \
	  { echo "$$member: $$found"; exit 1; }; done
	@$(VENV)/hadolint deploy/Dockerfile
	@$(VENV)/python docs/generate.py --check

check: lint test ## What CI runs: lint and test

fmt: install ## Format the sources and fix what can be fixed safely
	@$(VENV)/ruff check --fix --quiet . || true
	@$(VENV)/ruff format .

bench: install ## Measure CPU per request and latency beside yardsticks, on a stack of its own
	@$(VENV)/python tests/load/bench.py $(ARGS)

load: install ## Hold the README's promises under load, on a stack of its own
	@$(VENV)/python tests/load/load.py $(ARGS)

logins: install ## Flood the login with wrong ones, and try to tell accounts by the time
	@$(VENV)/python tests/load/logins.py $(ARGS)

overload: install ## Offer five times what the machine holds, and hold what is promised then, on a stack of its own
	@$(VENV)/python tests/load/overload.py $(ARGS)

chaos: install ## Kill, freeze and empty engines and services under traffic
	@$(VENV)/pytest tests/chaos $(ARGS)

fuzz: install ## Send what the API document allows and forbids, and compare, on a stack of its own
	@$(VENV)/python tests/fuzz/run.py $(ARGS)

quality: install ## Measure how well the starter knowledge base is found
	@$(VENV)/python tests/quality/run.py $(ARGS)

docs: install ## Write the parts of docs/ that come from the code
	@$(VENV)/python docs/generate.py

lock: install ## Renew requirements.lock and the bill of materials from the members' pyproject.toml
	@uv=$$(command -v uv || echo .multidb-tools/bin/uv); \
	$$uv lock --quiet --upgrade && \
	$$uv export --quiet --all-packages --no-emit-workspace --format requirements-txt --no-header -o requirements.lock && \
	$$uv export --quiet --all-packages --format cyclonedx1.5 --preview-features sbom-export | \
	$(VENV)/python deploy/sbom.py > sbom.cdx.json

clean: down ## Stop the stack and delete its data, and the installed packages
	@rm -rf .multidb .venv .multidb-tools
