# make demo    fill holes in the files of examples/ with the checkpoint that the package carries
# make test    every test; those in the editors only where these are installed
# make editors Neovim and VS Code into build/editors, with Debian's chromium and tmux: for Linux on x86-64
# make lint    ruff and pyright; the clients' own checks where their tools are installed
# make bench   the reach table of the README
# Everything runs in .venv, which the first target that needs it creates.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: demo test editors lint lint-clients bench clean

demo: $(STAMP)
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash examples/demo.sh

test: $(STAMP)
	$(BIN)/pytest

editors:
	bash tests/editors/install.sh

lint: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright
	@if [ -d build/editors ]; then $(MAKE) --no-print-directory lint-clients; \
		else echo "The clients are not linted: make editors installs what that takes."; fi

lint-clients:
	build/editors/stylua/node_modules/.bin/stylua --check editors/nvim
	cd editors/nvim && luacheck --quiet .
	cd editors/vscode && npm run --silent check

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
