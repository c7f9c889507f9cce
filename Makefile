# make demo: the page on the bundled model.  make test: all tests.  make quick: those without a
# browser, a training or a process, in about a minute.  Each sets everything up first.
PYTHON ?= python3
BIN = .venv/bin

.PHONY: demo test quick lint clean

demo: .venv/ready
	$(BIN)/python demo.py

test: .venv/ready
	$(BIN)/python -m pytest -n logical --dist loadfile

quick: .venv/ready
	$(BIN)/python -m pytest -n logical --quick -r fE

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Rebuilt when requirements.txt changes; the marker comes last, so a broken install is repeated.
.venv/ready: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Landmarks needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check -r requirements.txt
	touch $@

clean:
	rm -rf .venv .pytest_cache .ruff_cache .gradio
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
