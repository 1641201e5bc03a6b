# Everything runs in .venv, which the first target makes; PYTHON chooses the interpreter.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
# The tests also run PyTorch. A CPU build is enough for them, and much smaller; where pip would
# fetch another: make test PYTORCH="torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu"
PYTORCH ?= torch==2.13.0
TESTABLE := .venv/.testable
# What `make bench` measures the engines against.
PEER ?= diffusers==0.42.0
# Not the user's packages: what is tested is what pyproject.toml asks for.
export PYTHONNOUSERSITE := 1

.PHONY: demo test quick lint docs notebooks bench cuda-check clean

# The doctor compiles Jittor's core the first time, so that the demo starts with pictures.
demo: $(INSTALLED)
	$(BIN)/ddim doctor
	$(BIN)/ddim demo

# Jittor and PyTorch never share a process.
test: $(TESTABLE)
	$(BIN)/python -m pytest -m "not jittor and not pytorch"
	$(BIN)/python -m pytest -m pytorch
	$(BIN)/python -m pytest -m jittor

quick: $(TESTABLE)
	$(BIN)/python -m pytest -m "not jittor and not pytorch and not slow"
	$(BIN)/python -m pytest -m "pytorch and not slow"
	$(BIN)/python -m pytest -m "jittor and not slow"

lint: $(TESTABLE)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

# The site, in site/; open site/index.html.
docs: $(INSTALLED)
	$(BIN)/python tools/build_site.py

# Of the tutorial and of "Jittor for PyTorch users", in build/notebooks; open them with Jupyter.
notebooks: $(INSTALLED)
	$(BIN)/python tools/make_notebooks.py

# BENCH=--quick for a few minutes, BENCH=--full for hours, BENCH=--gpu where there is one,
# BENCH=--loading for images read from files.
bench: $(TESTABLE)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PEER)
	$(BIN)/python -m benchmarks $(BENCH)

# Compile everything for a GPU without one; 1.5 GB of NVIDIA's wheels. Only some architectures:
# make cuda-check CUDA_STUB_ARCHITECTURES=90
cuda-check: export CUDA_STUB_ARCHITECTURES ?= 80 90 120
cuda-check: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[cuda]" \
		nvidia-cuda-cuobjdump==13.2.86
	$(BIN)/python -m pytest tests/engines/jittor/cuda

$(INSTALLED): pyproject.toml requirements.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -e ".[dev,docs]"
	touch $@

$(TESTABLE): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PYTORCH)
	touch $@

clean:
	rm -rf .venv
