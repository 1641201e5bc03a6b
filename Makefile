# Everything runs in .venv, which the first target makes; PYTHON chooses the interpreter.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
# Not the user's packages: what is tested is what pyproject.toml asks for.
export PYTHONNOUSERSITE := 1

.PHONY: demo test quick lint clean

demo: $(INSTALLED)
	$(BIN)/ddim demo

test: $(INSTALLED)
	$(BIN)/python -m pytest -m "not jittor"
	$(BIN)/python -m pytest -m jittor

quick: $(INSTALLED)
	$(BIN)/python -m pytest -m "not jittor and not slow"
	$(BIN)/python -m pytest -m "jittor and not slow"

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

$(INSTALLED): pyproject.toml requirements.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -e ".[dev]"
	touch $@

clean:
	rm -rf .venv
