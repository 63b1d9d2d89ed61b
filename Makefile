# clipdistill. Needs make and Python 3.11 or 3.12; everything else is installed into .venv.
#
#   make setup        make .venv and install the locked dependencies (done once; quick when nothing has changed)
#   make quickstart   set up, then distil a small CLIP on the petri world and report on it, in minutes
#   make test         set up, then lint, types and all tests
#   make check        set up, then lint, types and the tests that your changes touch: under a minute
#   make lowest       the tests again, in .venv-lowest, with the lowest versions that pyproject.toml allows
#   make rehearse     every full-size recipe end to end on random weights; RECIPES='clip_kd/*' for some; hours for all
#   make bench        set up, then the benchmarks in a small setting
#   make campaign     set up, then kill, spoil and starve runs of every task; CAMPAIGN='--kills 9999' for all of it
#   make pictures     draw the pictures in docs/ again
#   make pages        write again what README.md and docs/ take from the code
#   make clean        remove .venv and all caches; runs, stores and worlds stay
#
# PYTHON=/path/to/python3.12 chooses the interpreter that .venv is made with; VENV=.venv-3.12 is another folder for it.

SHELL := /bin/sh
PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
LOWEST := .venv-lowest
CAMPAIGN :=
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1

.PHONY: help setup quickstart test check touched lint types lowest rehearse bench campaign pictures pages clean
.DEFAULT_GOAL := help

help:
	@sed -n '3,14s/^# *//p' Makefile

setup: $(READY)

# The stamp is written last, so a set-up that was interrupted is tried again.
$(READY): requirements.lock pyproject.toml
	@set -e; \
	if ! $(BIN)/python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' 2>/dev/null; then \
		python=`PYTHON='$(PYTHON)' sh .ci/find-python`; \
		echo "setup: making $(VENV) with $$python"; \
		rm -rf $(VENV); \
		"$$python" -m venv $(VENV); \
	fi
	@sh .ci/install-locked $(BIN)/python
	@echo "setup: installing clipdistill itself, editable"
	@$(BIN)/python -m pip --disable-pip-version-check -qq install --no-deps --no-build-isolation -e .
	@touch $(READY)
	@echo "setup: done; the command is $(BIN)/clipdistill"

quickstart: setup
	@$(BIN)/clipdistill quickstart

test: lint types
	$(ONE_THREAD) $(BIN)/python -m pytest -n 2

check: lint types touched

# BASE=main counts the changes from there. Without it they are what isn't committed yet, or else this branch's.
touched: setup
	$(ONE_THREAD) $(BIN)/python -m pytest -q `$(BIN)/python scripts/touched_tests.py $(BASE)`

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy src

# Packages that pyproject.toml doesn't name are the newest that pip finds; `pip check` sees that the bounds are kept.
$(LOWEST)/.ready: constraints-lowest.txt pyproject.toml
	@set -e; \
	python=`PYTHON='$(PYTHON)' sh .ci/find-python 3.11`; \
	echo "setup: making $(LOWEST) with $$python; the first time this takes some minutes and about 6 GB"; \
	rm -rf $(LOWEST); \
	"$$python" -m venv $(LOWEST)
	@$(LOWEST)/bin/python -m pip --disable-pip-version-check -q install --progress-bar off -r constraints-lowest.txt
	@$(LOWEST)/bin/python -m pip --disable-pip-version-check -qq install --no-deps --no-build-isolation -e .
	@$(LOWEST)/bin/python -m pip check
	@touch $(LOWEST)/.ready

lowest: $(LOWEST)/.ready
	$(ONE_THREAD) $(LOWEST)/bin/python -m pytest -n 2

rehearse: setup
	@HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false $(BIN)/python scripts/rehearse_recipes.py $(RECIPES)

bench: setup
	$(BIN)/python benchmarks/step_with_store.py
	$(BIN)/python benchmarks/open_clip_loop.py
	$(BIN)/python benchmarks/retrieval_metrics.py
	$(BIN)/python benchmarks/petri_render.py
	$(BIN)/python benchmarks/dclip_step.py
	$(BIN)/python benchmarks/region_caching.py
	$(BIN)/python benchmarks/clip_td_step.py
	$(BIN)/python benchmarks/fusion_step.py --model petri-uniter --words 40 --regions 4 --batch 32

# Its figures go to docs/reliability.json; `make pages` then writes them into docs/reliability.md.
campaign: setup
	$(ONE_THREAD) $(BIN)/python -m tests.campaign $(CAMPAIGN)

pictures: setup
	$(BIN)/python docs/make_pictures.py

pages: setup
	$(BIN)/python docs/make_pages.py

clean:
	rm -rf $(VENV) .venv-3.11 .venv-3.12 $(LOWEST) build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache
	find src tests benchmarks docs scripts -name __pycache__ -type d -prune -exec rm -rf {} +
