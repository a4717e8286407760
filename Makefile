# Every target works as the first command on a fresh machine with Python 3.11 or newer.
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
  $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
PORT ?= 8501
SERVE ?= 1
NAME ?=
# A process a core, each of one thread: two that share their threads are ten times slower. A file's
# tests stay together, with what they have set up.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist loadfile

.PHONY: check test test-slow test-extras demo app bench schema format findings

check: $(VENV)/dev
	$(BIN)/ruff format .
	$(MAKE) --no-print-directory lint
	$(PYTEST) -m 'not slow and not browser and not minutes and not extras'

$(VENV)/ready: requirements.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "featdyn needs Python 3.11 or newer; found none on the PATH"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $@

$(VENV)/dev: $(VENV)/ready requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

.PHONY: lint
lint: $(VENV)/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy app featdyn_engine store benchmarks
	$(BIN)/lint-imports

test: lint
	$(BIN)/python tests/browser/chromium.py
	$(PYTEST)

test-slow: $(VENV)/dev
	$(BIN)/pytest -m slow

$(VENV)/extras: $(VENV)/dev requirements-extras.txt requirements-ray.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.txt -r requirements-extras.txt -r requirements-ray.txt
	touch $@

test-extras: $(VENV)/extras
	FEATDYN_EXTRAS=1 OMP_NUM_THREADS=1 $(BIN)/pytest -m extras

demo: $(VENV)/ready
	$(BIN)/featdyn demo
	@test "$(SERVE)" = 0 || $(MAKE) --no-print-directory app

app: $(VENV)/ready
	$(BIN)/streamlit run app/main.py --server.port $(PORT)

bench: $(VENV)/dev
	$(BIN)/python -m benchmarks $(NAME)

schema: $(VENV)/ready
	$(BIN)/python -m store.schema

# The gallery: a snapshot of the studies that docs/findings.md speaks of, kept in the repository.
STUDIES = cifar10_labels cifar10_ten_thousand cifar10_ten_thousand_augmented digits mnist_labels \
  digits_labels cifar10_collapse cifar10_mlp cifar10_mlp_collapse cifar10_vit cifar10_vgg \
  cifar10_freezing digits_sensitivity digits_replay cifar10_replay cifar10_recipes \
  cifar10_noisy_labels cifar10_norm_layers cifar10_averages cifar10_noise cifar10_four_thousand
.PHONY: gallery gallery-anew
gallery: $(VENV)/ready
	FEATDYN_HOME=gallery FEATDYN_READONLY=1 $(BIN)/streamlit run app/main.py --server.port $(PORT)

# From the home of finished studies, FEATDYN_HOME: make gallery-anew findings. Where that home is lost,
# `featdyn restore gallery` makes one that a further study can be run in. Live are the digits
# of the demo; images of other sets are not in it, so neither are their weights and predictions.
gallery-anew: $(VENV)/ready
	$(BIN)/featdyn snapshot gallery --study digits $(patsubst %,--bare %,$(filter-out digits,$(STUDIES))) \
	  --checkpoints 88,660 --half --max-mb 30

findings: $(VENV)/ready
	$(BIN)/python -m app.report $(STUDIES) --home gallery --out docs

# Every page of the explorer as it shows the gallery's digits: docs/pages.md.
.PHONY: pictures
pictures: $(VENV)/dev
	$(BIN)/python -m tests.browser.pictures --home gallery --study digits --out docs/pages
