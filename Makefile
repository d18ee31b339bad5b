PYTHON ?= python3
BIN := .venv/bin

# Runs the tests. A file stays on one worker, since its fixtures are expensive; files run in the order of the tree, which has
# the slow folders, dataset/ and pipeline/, before the many quick files of trainers/ and transforms/.
PYTEST := $(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder -m "not slow and not gpu"

# Every benchmark that needs neither a GPU nor data from elsewhere, in rising order of time; `train` runs on the demo.
BENCHMARKS := shuffle plan action_units faces augment animate shots track landmarks archive build clips export loader learn models scale faults
TRAIN_ON_DEMO := --data demo/shards --batch 2

# Settings with which every benchmark runs in a few minutes; the figures mean little. `landmarks` is excluded: it compiles networks for a long time.
QUICK := $(filter-out landmarks,$(BENCHMARKS))
QUICK_shuffle := --clips 20000
QUICK_plan := --clips 20000
QUICK_faces := --frames 4
QUICK_action_units := --clips 4 --rounds 1
QUICK_augment := --images 4 --rounds 1
QUICK_animate := --frames 4
QUICK_shots := --reels 1
QUICK_track := --videos 2 --rounds 1
QUICK_archive := --copies 1 --rounds 1 --entries 1000
QUICK_clips := --clips 3 --copies 1 --builds 1 --rounds 1 --seconds 0.5 --containers 3
QUICK_export := --clips 3 --copies 1 --rounds 1 --seconds 1
QUICK_build := --copies 2 --sample 4 --large-clips 1
QUICK_learn := --steps 2 --clips 1
QUICK_models := --rounds 1 --steps 1
QUICK_loader := --clips 40 --rounds 1 --seconds 1 --only motionshards
QUICK_scale := --factors 1 --copies 1 --clips 5000 --units 20 --runner local
QUICK_gpu := --device cpu --minutes 30
QUICK_faults := --quick --kills 1 --only "driver killed, local"

.PHONY: help venv demo notebooks test test-slow coverage lint format hooks docs release bench bench-quick bench-gpu wheels peers azurite clean

# Azurite is the store of the abfs tests, which are skipped without it.
AZURITE ?= $(wildcard $(CURDIR)/build/azurite/node_modules/.bin/azurite-blob)
export AZURITE

# What benchmarks.gpu needs beyond numpy, scipy, scikit-image, OpenCV, numba, pillow, pyarrow, pyyaml, tqdm, rich, pytest and PyTorch for CUDA,
# for a machine that has these and no network; its Python may be another one.
WHEELS := cyclopts dlib-bin docstring_parser face_alignment ffmpeg-python future rich-rst simplejpeg
WHEELS_PYTHON ?= 3.12

PEERS ?= $(HOME)/.cache/motionshards-peers

help:
	@echo "make demo         set up .venv, render a small corpus, build it and verify it (no download but packages)"
	@echo "make test         set up .venv and run the tests"
	@echo "make venv         only set up .venv"
	@echo "make test-slow    the tests that take long (random kills, full disk, exports, training, the tutorial)"
	@echo "make notebooks    execute docs/notebooks and store their outputs"
	@echo "make azurite      install what the tests of abfs:// run against (needs npm)"
	@echo "make coverage     the tests of make test, and which lines they leave out; half as long again"
	@echo "make lint         ruff and mypy"
	@echo "make format       ruff's format, and the faults that it can mend"
	@echo "make hooks        check every commit before it is made (needs pipx or pre-commit)"
	@echo "make docs         build the documentation site into build/site; a broken link is an error"
	@echo "make release      build sdist and wheel into dist, and try the wheel in an empty environment"
	@echo "make bench        every benchmark that needs no GPU; takes hours"
	@echo "make bench-gpu    the tests and benchmarks of a GPU, in six minutes"
	@echo "make wheels       packages for benchmarks.gpu on a machine without a network, into build/wheels (CONTRIBUTING.md)"
	@echo "make peers        install what two benchmarks compare with into \$$PEERS (7 GB)"
	@echo "make bench-quick  the same but landmarks, at their smallest: do they run?"

venv: .venv/ready

# Debian without python3-venv lacks ensurepip; its pip can still fill an environment from outside.
.venv/ready: requirements.lock pyproject.toml
	@echo "installing packages into .venv (takes a few minutes)"
	$(PYTHON) -m venv .venv 2>/dev/null || { $(PYTHON) -m venv --clear --without-pip .venv && $(PYTHON) -m pip --python $(BIN)/python install -q pip; }
	$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

demo: venv
	$(BIN)/python -m dataset.build --source demo --input demo/videos --output demo/shards
	$(BIN)/python -m dataset.verify demo/shards
	@echo "next: . .venv/bin/activate; motionshards report demo/shards; then docs/tutorial.md"

notebooks: demo
	$(BIN)/python docs/execute_notebooks.py

test: venv
	$(PYTEST)

azurite:
	npm install --silent --no-audit --no-fund --prefix build/azurite azurite@3.35.0

test-slow: venv
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m slow

coverage: venv
	$(PYTEST) --cov --cov-report=term:skip-covered --cov-report=html:build/coverage

lint: venv
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: venv
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

hooks: venv
	pre-commit install || pipx run pre-commit install

docs: venv
	$(BIN)/python docs/build_site.py

# The environment is empty and the directory is not the checkout, so that only what the wheel has and requires is found.
release: venv
	rm -rf dist build/release
	$(BIN)/python -m build --no-isolation --outdir dist
	$(PYTHON) -m venv build/release
	build/release/bin/pip install -q --disable-pip-version-check --constraint requirements.lock dist/*.whl
	cd build/release && bin/motionshards build --source demo --input videos --output shards && bin/motionshards verify shards

# Environments of their own, outside the checkout: `readers` also sees the project's packages.
peers: venv
	$(PYTHON) -m venv $(PEERS)/readers
	$(PEERS)/readers/bin/python -m pip install -q --disable-pip-version-check --no-deps -r benchmarks/requirements-peers.txt
	$(BIN)/python -c "import site; print(*site.getsitepackages())" > "$$(echo $(PEERS)/readers/lib/python3*/site-packages)/project.pth"
	$(PYTHON) -m venv $(PEERS)/video2dataset
	$(PEERS)/video2dataset/bin/python -m pip install -q --disable-pip-version-check -r benchmarks/requirements-video2dataset.txt

bench: demo
	set -e; for name in $(BENCHMARKS); do $(BIN)/python -m benchmarks.$$name; done
	$(BIN)/python -m benchmarks.train $(TRAIN_ON_DEMO)

bench-quick: demo
	$(foreach name,$(QUICK),$(BIN)/python -m benchmarks.$(name) $(QUICK_$(name)) &&) true
	$(BIN)/python -m benchmarks.train $(TRAIN_ON_DEMO) --steps 1 --warm 1 --rounds 1
	$(BIN)/python -m benchmarks.gpu $(QUICK_gpu)

bench-gpu: venv
	$(BIN)/python -m benchmarks.gpu

wheels: venv
	$(BIN)/python -m pip download -q --disable-pip-version-check --no-deps --only-binary :all: --python-version $(WHEELS_PYTHON) -c requirements.lock -d build/wheels $(WHEELS)

clean:
	rm -rf .venv demo build *.egg-info
