# Every target builds its own .venv first: `make demo` works on a fresh machine with Python 3.11 or newer.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
export FLWR_TELEMETRY_ENABLED := 0
export FLWR_DISABLE_UPDATE_CHECK := 1

.PHONY: help demo test test-all check bench results shaped figures format clean
help:           ## show this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

# torch goes first and from the constraints: a plain `pip install torch` may pull a CUDA build of several GB.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("thinwire needs Python 3.11 or newer, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt torch numpy
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(STAMP)  ## compare the pairings on the digits task and write demo/report.html
	$(BIN)/thinwire compare --out demo

test: $(STAMP)  ## all tests but the slow ones; a file in one process, since its tests share what they make
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-all: $(STAMP) ## every test, also the slow ones
	$(BIN)/python -m pytest -n 2 --dist loadfile -m 'slow or not slow'

check: $(STAMP) ## all that a change must pass: format, lint, types, tests, docs examples
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2 --dist loadfile

format: $(STAMP) ## format and mend what ruff can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP) ## speed against a plain copy, and frame sizes, as JSON into results/
	$(BIN)/python bench/codecs.py
	$(BIN)/python bench/selection.py
	$(BIN)/thinwire bench selectors --densities 0.001,0.01,0.05 --repeats 7 --out results
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[bench]'
	$(BIN)/thinwire bench codecs --out results

# Needs THINWIRE_DATA (a folder with MNIST's and census files) and about an hour on two cores; finished runs are kept.
results: $(STAMP) ## all that README and docs quote, into results/
	$(BIN)/thinwire compare --out results/digits
	$(BIN)/python bench/overview.py results/digits results/overview.svg
	$(BIN)/thinwire compare --task adult --only auto --out results/adult
	$(BIN)/thinwire compare --task fashion-mnist --only auto --out results/fashion-mnist
	$(BIN)/python bench/strategies.py
	$(BIN)/python bench/choices.py
	$(BIN)/python bench/codecs.py
	$(BIN)/python bench/selection.py
	$(BIN)/python bench/rotation.py
	$(BIN)/thinwire bench selectors --densities 0.001,0.01,0.05 --repeats 7 --out results
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[bench]'
	$(BIN)/thinwire bench codecs --out results
	$(BIN)/python bench/sparse_accuracy.py --task digits --rounds 100 --out results/sparse/digits
	$(BIN)/python bench/sparse_accuracy.py --task fashion-mnist-mlp --rounds 40 --out results/sparse/fashion-mnist-mlp
	$(BIN)/python bench/error_bounds.py
	$(BIN)/python bench/fuzz.py --mutations 1000000 --out results/fuzz.json
	$(BIN)/python bench/fuzz.py --dense 100000 --out results/fuzz-dense.json
	$(BIN)/python bench/fuzz.py --packed 100000 --out results/fuzz-packed.json
	$(BIN)/python bench/large_models.py
	$(BIN)/python bench/deploy.py --hidden 1376 --rounds 3
	$(BIN)/python bench/deploy.py --hidden 1376 --rounds 3 --uplink "Uniform(bits=8)" --downlink "Uniform(bits=8)" --out results/deploy-uniform8.json

# Needs Linux, root and iproute2, and a quiet machine for half an hour; finished rows are kept.
shaped: $(STAMP) ## exposed averaging on links of 20 Mbit/s to 1 Gbit/s, into results/shaped.json
	$(BIN)/python bench/shaped.py

figures: $(STAMP) ## write the figures of README and docs anew from results/
	$(BIN)/python bench/figures.py

clean:          ## forget the environment and all that was written
	rm -rf $(VENV) demo runs .pytest_cache .mypy_cache .ruff_cache .hypothesis
