# make run       execute main.ipynb into generated/main.ipynb; main.ipynb itself does not change
# make paper     execute paper.ipynb, the paper's tables and figures, likewise; make paper QUICK=1 is a small rehearsal
# make notebook  do both, then replace main.ipynb, paper.ipynb and the README's picture by the results
# make test      lint, then the tests, on all cores
# make slow      lint, then the proofs that take long, then the tests in random order; within an hour on two cores.
#                Some skip themselves: magenta.js needs Node and npm's registry, pages that play need Chromium, a full disk
#                needs root, all songs of the reference need its data.
# make lint      ruff alone
# make clean     remove the environment and the caches; your runs/ and generated/ stay
#
# Each command sets up .venv on first use. To choose another Python: make test PYTHON=python3.12

PYTHON ?= python3
VENV_PYTHON := .venv/bin/python
READY := .venv/ready

# The notebook runs in .venv's own kernel and ignores kernels, settings and start-up files of the home folder.
export IPYTHONDIR := $(CURDIR)/.venv/ipython
export JUPYTER_NO_CONFIG := 1
export JUPYTER_PREFER_ENV_PATH := 1
# Waiting threads spin for microseconds and then sleep: on a busy machine, endless spinning makes a small model ten times slower.
export GOMP_SPINCOUNT := 20000
unexport JUPYTER_PATH PYTHONHOME PYTHONPATH

EXECUTE = env -u MPLBACKEND $(VENV_PYTHON) -m nbconvert --to notebook --execute --output-dir generated \
	--ExecutePreprocessor.kernel_name=python3 --ExecutePreprocessor.timeout=-1

.PHONY: run paper notebook test slow lint clean

run: $(READY)
	mkdir -p generated
	$(EXECUTE) main.ipynb

paper: $(READY)
	mkdir -p generated
	$(EXECUTE) paper.ipynb

notebook: run paper
	$(VENV_PYTHON) .ci/clean_notebook.py generated/main.ipynb main.ipynb
	$(VENV_PYTHON) .ci/clean_notebook.py generated/paper.ipynb paper.ipynb
	cp generated/interpolation.png docs/interpolation.png

# Files of tests stay whole on one worker, in their order: a fixture of a file is made once, and the longest come first.
ALL_CORES := -n logical --maxprocesses 8 --dist loadfile --no-loadscope-reorder

test: lint
	MPLBACKEND=agg $(VENV_PYTHON) -m pytest $(ALL_CORES)

slow: lint
	MPLBACKEND=agg $(VENV_PYTHON) -m pytest -m slow --durations 0
	MPLBACKEND=agg $(VENV_PYTHON) -m pytest -p randomly $(ALL_CORES)

lint: $(READY)
	$(VENV_PYTHON) -m ruff check .

clean:
	rm -rf .venv .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): requirements.txt tests/requirements.txt constraints.txt
	@command -v $(PYTHON) >/dev/null || \
		{ echo "Python 3.10 to 3.13 is needed, and '$(PYTHON)' was not found: https://www.python.org/downloads/"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "Python 3.10 to 3.13 is needed, and '$(PYTHON)' is $$($(PYTHON) --version 2>&1):" \
			"name another, as in 'make PYTHON=python3.12 test'"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || \
		{ echo "$(PYTHON) comes without venv; on Debian and Ubuntu: sudo apt install python3-venv"; exit 1; }
	@echo "Setting up .venv (once; some minutes)"
	$(PYTHON) -m venv .venv
	$(VENV_PYTHON) -m pip install -r tests/requirements.txt -c constraints.txt
	@touch $@
