# Everything a fresh machine needs: `make demo`, `make test`. The environment is made in .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test test-all lint comfyui clean

demo: $(INSTALLED)
	$(BIN)/lightfusion demo -o output/demo.png

test: $(INSTALLED)
	$(BIN)/python -m pytest tests -m "not slow"

test-all: $(INSTALLED) lint
	$(BIN)/python -m pytest tests

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(INSTALLED): pyproject.toml tools/install.sh
	PYTHON="$(PYTHON)" sh tools/install.sh $(VENV)
	@touch $@

comfyui:
	$(PYTHON) tools/comfyui.py

clean:
	rm -rf $(VENV) output build dist *.egg-info
