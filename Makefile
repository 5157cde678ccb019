# make demo    fill holes in the files of examples/ with the checkpoint that the package carries
# make test    every test
# make lint    ruff and pyright
# make bench   the reach table of the README
# Everything runs in .venv, which the first target that needs it creates.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: demo test lint bench clean

demo: $(STAMP)
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash examples/demo.sh

test: $(STAMP)
	$(BIN)/pytest

lint: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright

bench: $(STAMP)
	$(BIN)/python -m bench

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "dgemma-lsp needs Python 3.10 or newer; name one with: make PYTHON=python3.12" >&2; exit 1; }
	@echo "Installing dgemma-lsp into .venv (once; torch is the large part) ..."
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[engine,dev]'
	@touch $@

clean:
	rm -rf build dist .pytest_cache .ruff_cache .hypothesis
	find dgemma_lsp engine tests bench -name __pycache__ -type d -prune -exec rm -rf {} +
