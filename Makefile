# The lab's doors. Each works alone on a fresh clone: what is missing is set up first.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# In a container one is root, and JupyterLab wants that confirmed.
AS_ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)

.DEFAULT_GOAL := help
.PHONY: help lab test lint jupyter down bench conformance nbval pictures constraints

help:  ## show this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

$(READY): pyproject.toml constraints.txt
	@echo 'Installing the lab and what it needs into .venv: about a minute, once ...'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	@touch $@

lab: $(READY)  ## run notebooks 00 to 04 headless, and leave the lab running
	$(BIN)/labkit run

test: $(READY) lint  ## all tests, on a lab of their own
	$(BIN)/labkit tools --fetch
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

lint: $(READY)  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

jupyter: $(READY)  ## open JupyterLab on the notebooks
	$(BIN)/jupyter lab --notebook-dir notebooks --ip 127.0.0.1 $(AS_ROOT)

down: $(READY)  ## stop everything that belongs to the lab
	$(BIN)/labkit down

bench: $(READY)  ## measure start-up, memory and promotions, in a lab of their own; SIZES="10 30 60": many applications
	$(BIN)/python tests/benchmarks $(SIZES)

conformance: $(READY)  ## replay the recordings of a genuine Kargo on every engine that can be had; writes build/conformance.md
	$(BIN)/labkit tools --fetch
	$(BIN)/python tests/conformance

nbval: $(READY)  ## validate one notebook against the running lab: make nbval NB=04-deploy-demo-app
	$(BIN)/python -m pytest --nbval --nbval-cell-timeout=600 -p no:cacheprovider notebooks/$(NB).ipynb

pictures: $(READY)  ## make the README's pictures of the board anew, by the browser tests, on a lab of their own
	$(BIN)/python -m pytest tests/notebooks/test_with_a_browser.py
	cp build/screenshots/board.png docs/pictures/

constraints: $(READY)  ## pin the versions that are installed now
	$(BIN)/python -m pip freeze --exclude-editable --exclude labkit > constraints.txt
