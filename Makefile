# Needs Python >= 3.11 and make; everything else is installed into .venv at the first use.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STORE ?= demo-store
INSTALLED := $(VENV)/.installed

.PHONY: demo test check bench soak failures clean

demo: $(INSTALLED)
	$(BIN)/banzuke run examples/demo.toml --store $(STORE)

test: $(INSTALLED)
	$(BIN)/python -m pytest -n 2 --dist worksteal

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(INSTALLED)
	$(BIN)/python benchmarks/start.py
	$(BIN)/python benchmarks/concurrency.py
	$(BIN)/python benchmarks/inference.py
	$(BIN)/python benchmarks/playing.py
	$(BIN)/python benchmarks/ratings.py
	$(BIN)/python benchmarks/adaptive.py
	$(BIN)/python benchmarks/store.py --short

soak: $(INSTALLED)
	$(BIN)/python benchmarks/soak.py

failures: $(INSTALLED)
	BANZUKE_WRITE_FAILURES=1 $(BIN)/python -m pytest tests/test_zoo.py

clean:
	rm -rf $(VENV) demo-store .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Banzuke needs Python 3.11 or newer; try make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@
