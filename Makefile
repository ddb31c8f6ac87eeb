# make run CORES=N   set everything up and run the whole pipeline; ARGS="..." are passed on to Snakemake
# make test          set everything up, check format and style, and run all tests
# Both need Python 3.11 or newer and nothing else.

PYTHON ?= python3
CORES ?= 1
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
# Programs in an environment name the folder that it was made in: where that was moved, it is made again.
MOVED := $(if $(wildcard $(STAMP)),$(shell grep -qsF ' $(CURDIR)/$(VENV)' $(VENV)/pyvenv.cfg || echo moved))
# Child processes (Snakemake's jobs) find the environment's programs too. They are many, so bytecode is kept.
ACTIVATE := export PATH="$(CURDIR)/$(BIN):$$PATH" PYTHONDONTWRITEBYTECODE= &&
# Each process takes the next file, in the order of tests/conftest.py: the longest ones first.
PYTEST := pytest --dist loadfile --no-loadscope-reorder --numprocesses

.PHONY: run test fast lint kernels format install clean

run: install
	$(ACTIVATE) snakemake --cores $(CORES) --workflow-profile workflow/profiles/default $(ARGS)
	@# A dry run on a fresh machine leaves nothing to summarize.
	$(ACTIVATE) ! ls -d results/sec*_results > /dev/null 2>&1 || python -P -m kanbench summary

# One process more than cores, because some tests wait for Slurm.
test: install
	$(MAKE) --jobs 2 --output-sync lint kernels
	$(ACTIVATE) $(PYTEST) $$(python -c 'import os; print(min(os.cpu_count() + 1, 4))')

fast: install
	$(ACTIVATE) $(PYTEST) logical --maxprocesses 4 -m "not slow"

lint: install
	$(ACTIVATE) ruff format --check . && ruff check .
	$(ACTIVATE) mypy
	$(ACTIVATE) snakefmt --check Snakefile workflow/Snakefile workflow/rules
	$(ACTIVATE) snakemake --lint
	$(if $(shell command -v shellcheck),shellcheck .ci/run tests/support/slurm.sh workflow/profiles/pbs/*.sh)

# Compiled ahead, because tests would wait for each other's.
kernels: install
	$(ACTIVATE) python -P -m kanbench compile

format: install
	$(ACTIVATE) ruff format . && ruff check --fix .
	$(ACTIVATE) snakefmt Snakefile workflow/Snakefile workflow/rules

install: $(STAMP)

ifdef MOVED
.PHONY: $(STAMP)
endif
$(STAMP): pyproject.toml envs/constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "kanbench: found Python %d.%d; allowed: 3.11 or newer (make PYTHON=...)" % sys.version_info[:2])'
	$(if $(MOVED),@echo "kanbench: $(CURDIR): moved since it was installed: installing again")
	$(PYTHON) -m venv $(if $(MOVED),--clear) $(VENV)
	$(BIN)/pip install --quiet --constraint envs/constraints.txt --editable '.[test]'
	touch $(STAMP)

clean:
	rm -rf $(VENV) .snakemake .pytest_cache .ruff_cache .hypothesis
