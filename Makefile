# Everything needed is installed into .venv on the first call of any target.
PYTHON ?= python3
VENV ?= .venv
# What to install as torch; constraints.txt has the pin.
TORCH ?= -c constraints.txt torch
# Further arguments of the demo, for example DEMO_ARGS="--seed 1".
DEMO_ARGS ?=
# Freed memory is kept for the next step (glibc), for all peers alike; BENCH_ENV= for the defaults.
BENCH_ENV ?= MALLOC_MMAP_THRESHOLD_=1073741824 MALLOC_TRIM_THRESHOLD_=4294967296
# The benchmarks run once with each of these numbers of threads.
BENCH_THREADS ?= 1 2
# Where their page goes.
BENCH_PAGE ?= docs/benchmarks.md
# Processes that run the tests.
JOBS ?= 2

BIN := $(VENV)/bin
READY := $(VENV)/.ready
BUILT := $(VENV)/.built
DOCS := $(VENV)/.docs
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: demo test bench docs lint format clean setup
.DEFAULT_GOAL := demo

# 1. torch and the tools, once; 2. metaphys and its kernels, again when their sources change.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("metaphys needs Python 3.10 or newer, this is %s" % sys.version) if sys.version_info < (3, 10) else 0'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --upgrade "pip>=24"
	$(PIP) install --quiet $(TORCH) "numpy>=1.26,<3" "setuptools>=77" wheel "ninja>=1.11,<2"
	$(BIN)/python -c 'import torch; print("torch==" + torch.__version__)' > $(VENV)/torch.txt
	touch $@

$(BUILT): $(READY) setup.py $(wildcard csrc/*)
	METAPHYS_EXTENSION=require $(PIP) install --quiet --no-build-isolation -c $(VENV)/torch.txt -e '.[dev]'
	touch $@

$(DOCS): $(BUILT)
	$(PIP) install --quiet --no-build-isolation -c $(VENV)/torch.txt -e '.[docs]'
	touch $@

setup: $(BUILT)

demo: $(BUILT)
	$(BIN)/metaphys meta-train --system oscillators --run-dir runs/demo --overwrite $(DEMO_ARGS)

test: $(BUILT)
	$(BIN)/python -m pytest -q -n $(JOBS)
	METAPHYS_DISABLE_EXTENSION=1 $(BIN)/python -m pytest -q -n $(JOBS)

bench: $(BUILT)
	$(PIP) install --quiet --no-build-isolation -c $(VENV)/torch.txt -e '.[bench]'
	for threads in $(BENCH_THREADS); do \
		$(BENCH_ENV) METAPHYS_BENCH_THREADS=$$threads OMP_NUM_THREADS=$$threads $(BIN)/python -m pytest \
			-q benchmarks -p no:xdist -W ignore --benchmark-only --benchmark-sort=fullname \
			--benchmark-columns=median,iqr,rounds \
			--benchmark-json=$(VENV)/benchmarks-$$threads.json $(BENCH_ARGS) || exit 1; \
	done
	$(BIN)/python benchmarks/table.py $(BENCH_PAGE) $(BENCH_THREADS:%=$(VENV)/benchmarks-%.json)

# Executes the tutorials (minutes, where they or the package have changed) and writes site/.
docs: $(DOCS)
	OMP_NUM_THREADS=1 NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

lint: $(BUILT)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright --pythonpath $(BIN)/python

format: $(BUILT)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build site *.egg-info metaphys/_C*.so .pytest_cache .ruff_cache .hypothesis
