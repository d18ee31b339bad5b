PYTHON ?= python3
BIN := .venv/bin

.PHONY: help venv demo test test-slow lint bench clean

help:
	@echo "make demo       set up .venv, render a small corpus, build it and verify it (no download but packages)"
	@echo "make test       set up .venv and run the tests"
	@echo "make venv       only set up .venv"
	@echo "make test-slow  the tests that take long (random kills, full disk, exports, training)"
	@echo "make lint       ruff and mypy"
	@echo "make bench      the benchmarks that need no GPU"

venv: .venv/ready

# Debian without python3-venv lacks ensurepip; its pip can still fill an environment from outside.
.venv/ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv 2>/dev/null || { $(PYTHON) -m venv --clear --without-pip .venv && $(PYTHON) -m pip --python $(BIN)/python install -q pip; }
	$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

demo: venv
	$(BIN)/python -m dataset.build --source demo --input demo/videos --output demo/shards
	$(BIN)/python -m dataset.verify demo/shards

test: venv
	$(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder -m "not slow and not gpu"

test-slow: venv
	$(BIN)/python -m pytest -q -m slow

lint: venv
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: venv
	$(BIN)/python -m benchmarks.plan
	$(BIN)/python -m benchmarks.build

clean:
	rm -rf .venv demo build *.egg-info
