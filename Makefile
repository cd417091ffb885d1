# Two commands on a fresh machine with Python 3.11 and make:
#   make demo    sets up and runs one task from declaration to proof on a local model
#   make test    sets up and runs every check and test

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
TASK ?= helpdesk
QUICK ?=
RUN ?= runs/demo-$(TASK)$(if $(QUICK),-quick)
TEACHER := $(if $(QUICK),smollm2-135m,qwen2.5-coder-1.5b smollm2-135m)

.PHONY: help setup models models-quick demo test lint check clean

help:
	@sed -n 's/^#   //p' Makefile

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if v >= (3, 11) else f"Python 3.11 or newer is needed, got {v[0]}.{v[1]}; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip "setuptools>=80"
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

setup: $(VENV)/.ready

models: setup
	$(BIN)/stillroom models pull --all

demo: setup
	$(BIN)/stillroom models pull minilm $(TEACHER)
	$(BIN)/stillroom run examples/$(TASK)/task.py --run $(RUN) $(if $(QUICK),--quick)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/stillroom models pull minilm smollm2-135m
	$(BIN)/python -m pytest -q

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
