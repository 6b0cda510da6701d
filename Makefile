# Everything is set up in .venv by whichever target needs it.

# Which Python makes .venv: 3.11 or newer.
PYTHON ?= python3
# An index of wheels with the build of torch to take. Empty: the package index's own build.
TORCH_INDEX ?=
# The build that demo and tests are made with is told at the end of `make setup`.

VENV := .venv
BIN := $(VENV)/bin
# Programs in there name the place where they were made: after a move `python -m` still works.
READY := $(VENV)/.ready
PIP := $(BIN)/python -m pip --disable-pip-version-check
SAMPLE := demo/sample.mp4
PICTURE := demo/difference.png

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help setup demo run test lint types check format clean

help:
	@echo 'make demo     start the service, drop a sample clip, show what comes of it, stop the service'
	@echo 'make run      run the service until Ctrl-C'
	@echo 'make test     run the tests'
	@echo 'make check    format, lint, types and tests: what CI runs'
	@echo 'make setup    only set up $(VENV)'
	@echo 'make format   bring the code into its form'
	@echo 'make clean    remove $(VENV), the demo and caches'
	@echo
	@echo 'PYTHON=python3.12      which Python makes $(VENV) (3.11 or newer)'
	@echo 'TORCH_INDEX=URL        an index of wheels with another build of torch, such as the'
	@echo '                       CPU-only one (far smaller): see "Get started" at pytorch.org'
	@echo '                       (after a `make clean` where $(VENV) is there already)'

setup: $(READY)

$(READY): setup.cfg pyproject.toml constraints.txt
	@command -v '$(PYTHON)' >/dev/null || { echo \
	  'No $(PYTHON) here: install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3' >&2; exit 1; }
	@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo \
	  "$(PYTHON) is $$('$(PYTHON)' --version 2>&1), 3.11 or newer is needed; name one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@'$(PYTHON)' -c 'import venv, ensurepip' 2>/dev/null || { echo \
	  '$(PYTHON) has no venv module; on Debian and Ubuntu: apt-get install python3-venv' >&2; exit 1; }
	@$(BIN)/python -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || '$(PYTHON)' -m venv --clear $(VENV)
ifeq ($(TORCH_INDEX),)
	@echo 'torch: the build that the package index gives (on Linux with an x86-64 processor the'
	@echo '  one for CUDA, some GB). Another one: make TORCH_INDEX=URL, see "make help".'
else
	@echo 'torch: the build from $(TORCH_INDEX)'
endif
	@# First and alone, so that nothing that follows chooses another build.
	$(PIP) install --quiet --no-deps $(if $(TORCH_INDEX),--index-url '$(TORCH_INDEX)') \
	  --constraint constraints.txt torch torchvision
	$(PIP) install --quiet --constraint constraints.txt --editable '.[networks,onnx,test,dev]'
	@$(BIN)/python -c 'import torch; print("torch", torch.__version__, "is set up:", \
	  f"CUDA {torch.version.cuda}," if torch.version.cuda else "CPU only,", \
	  "an accelerator is there" if torch.cuda.is_available() else "no accelerator is there")'
	@touch $@

demo: $(READY)
	@mkdir -p demo
	@$(BIN)/python -m tools.make_sample $(SAMPLE)
	@$(BIN)/python -m tools.demo $(SAMPLE) $(PICTURE)

run: $(READY)
	@echo 'inbox $(CURDIR)/inbox, results in $(CURDIR)/outbox, unless config.yaml says otherwise; Ctrl-C ends it'
	@exec $(BIN)/python -m daemon serve

test: $(READY)
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(READY)
	$(BIN)/python -m mypy

check: lint types test

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) demo build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
