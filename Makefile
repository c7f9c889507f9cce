# make demo: the page on the bundled model.  make test: all tests.  make quick: those without a
# browser, a training or a process, in about a minute.  Each sets up what it needs first: demo
# only the packages that serving needs, the others all.
PYTHON ?= python3
BIN = .venv/bin
INSTALL = $(BIN)/python -m pip install --disable-pip-version-check

.PHONY: demo test quick lint clean

demo: .venv/serve
	$(BIN)/python demo.py

test: .venv/ready
	$(BIN)/python -m pytest -n logical --dist loadfile

quick: .venv/ready
	$(BIN)/python -m pytest -n logical --quick -r fE

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Rebuilt when their requirements change; a marker comes last, so a broken install is repeated.
.venv/serve: requirements-serve.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Landmarks needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	$(PYTHON) -m venv .venv
	$(INSTALL) -r requirements-serve.txt
	touch $@

.venv/ready: requirements.txt .venv/serve
	$(INSTALL) -r requirements.txt
	touch $@

clean:
	rm -rf .venv .pytest_cache .ruff_cache .gradio
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
