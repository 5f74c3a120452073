# Everything a fresh machine needs: `make demo`, `make test`. The environment is made in .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test test-all lint bench bench-gpu comfyui clean

demo: $(INSTALLED)
	$(BIN)/lightfusion demo -o output/demo.png

test: $(INSTALLED)
	$(BIN)/python -m pytest tests -m "not slow" --numprocesses 2 --dist loadfile

test-all: $(INSTALLED) lint
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -e ".[ray]" || echo "No Ray here: its tests are skipped."
	$(BIN)/python -m pytest tests

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(INSTALLED)
	$(BIN)/lightfusion bench step --device cpu --threads 2 --json output/bench-step.json
	$(BIN)/lightfusion bench cache --device cpu --threads 2 --json output/bench-cache.json

bench-gpu: $(INSTALLED)
	$(BIN)/python -m tools.gpu run -o output/gpu

$(INSTALLED): pyproject.toml tools/install.sh
	PYTHON="$(PYTHON)" sh tools/install.sh $(VENV)
	@touch $@

comfyui:
	$(PYTHON) tools/comfyui.py

clean:
	rm -rf $(VENV) output build dist *.egg-info
