# clipdistill. Needs make and Python 3.11 or 3.12; everything else is installed into .venv.
#
#   make setup        make .venv and install the locked dependencies (done once; quick when nothing has changed)
#   make quickstart   set up, then distil a small CLIP on the petri world and report on it, in minutes
#   make test         set up, then lint, types and all tests
#   make bench        set up, then the benchmarks in a small setting
#   make pictures     draw the pictures in docs/ again
#   make pages        write again what README.md and docs/ take from the code
#   make clean        remove .venv and all caches; runs, stores and worlds stay
#
# PYTHON=/path/to/python3.12 chooses the interpreter that .venv is made with.

SHELL := /bin/sh
PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1

.PHONY: help setup quickstart test lint types bench pictures pages clean
.DEFAULT_GOAL := help

help:
	@sed -n '3,11s/^# *//p' Makefile

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

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy src

bench: setup
	$(BIN)/python benchmarks/step_with_store.py
	$(BIN)/python benchmarks/open_clip_loop.py
	$(BIN)/python benchmarks/retrieval_metrics.py
	$(BIN)/python benchmarks/petri_render.py
	$(BIN)/python benchmarks/dclip_step.py
	$(BIN)/python benchmarks/region_caching.py

pictures: setup
	$(BIN)/python docs/make_pictures.py

pages: setup
	$(BIN)/python docs/make_pages.py

clean:
	rm -rf $(VENV) build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache
	find src tests benchmarks docs -name __pycache__ -type d -prune -exec rm -rf {} +
