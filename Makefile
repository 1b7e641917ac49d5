# Two commands do everything, set-up included:
#   make run     the main job on the embedded default
#   make test    the checks and the whole test suite
# One more repeats the paper's experiments: make paper SEEDS=16 WORKERS=2
SHELL  := /bin/bash
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: run test check bench paper clean
run: $(READY)
	$(BIN)/testbed run measurements/demo/campaign.toml $(ARGS)

test: $(READY) check
	$(BIN)/python -m pytest $(ARGS)

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY)
	$(BIN)/python benchmarks/round.py

SEEDS   ?= 8
WORKERS ?= 2
paper: $(READY)
	$(BIN)/testbed experiment all --seeds $(SEEDS) --workers $(WORKERS)
	$(BIN)/python benchmarks/paper_scheduler.py --out measurements/paper/results/scheduler

# The environment, and the compiled kernels, so that nobody waits for a compiler later.
$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version). Try: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get install -y -q python3-venv && $(PYTHON) -m venv $(VENV); \
	  else echo "The venv module is missing. On Debian or Ubuntu: sudo apt-get install python3-venv" >&2; exit 1; fi; }
	$(BIN)/pip install --quiet --editable '.[dev,pluto]'
	$(BIN)/python -m testbed.agents.warm
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
