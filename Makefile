# Targets for users: edc, mdc, test, tables, figures. For authors: export, clean, readme, benchmark. `make help` lists them.
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=
# `make CONSTRAINTS=` takes the newest versions that settings.ini allows instead of the tested ones
CONSTRAINTS ?= constraints.txt

.PHONY: help install edc mdc test tables figures notebooks pytest export clean readme benchmark

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

.venv/installed: settings.ini setup.py constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("dc_nb needs Python 3.11 or later; run make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q --no-compile $(addprefix -c ,$(CONSTRAINTS)) -e ".[dev]"
	@$(BIN)/python -m compileall -q -j 0 .venv/lib >/dev/null 2>&1 || true     # pip compiles on one core
	@mkdir -p out                    # papermill wants the folder of its output to be there
	@touch $@

install: .venv/installed  ## make .venv with everything the notebooks and tests need

edc: install  ## condense the bundled digits with EDC; ARGS="-p ipc 1" passes parameters
	$(BIN)/dc_nb run edc $(ARGS)

mdc: install  ## condense them once for the sizes 1 to 5 with MDC, beside its baselines; ARGS="-p ipc 10"
	$(BIN)/dc_nb run mdc $(ARGS)

tables: install  ## every published table with our numbers, from results/, into out/run_tables.ipynb
	@mkdir -p out
	$(BIN)/papermill --no-progress-bar nbs/run_tables.ipynb out/run_tables.ipynb $(ARGS)

figures: install  ## draw figures/ again from results/
	@mkdir -p out
	$(BIN)/papermill --no-progress-bar nbs/run_figures.ipynb out/run_figures.ipynb $(ARGS)

test: notebooks pytest  ## run all notebooks as tests, then pytest; DC_NB_ALL=1 make test leaves nothing out

notebooks: install  ## every notebook must run and its assertions hold
	OMP_NUM_THREADS=1 $(BIN)/nbdev_test --n_workers 2 --timing $(if $(filter-out 0,$(DC_NB_ALL)),--flags slow)

# neighbours share what a module sets up, so a worker takes them in a row (worksteal)
pytest: install  ## properties, end-to-end runs, faults; DC_NB_ALL=1 make pytest runs the slow ones, too
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n 2 --dist worksteal --durations 15 tests

export: install  ## notebooks to library
	$(BIN)/nbdev_export

clean: install  ## strip notebooks of what git should not see
	$(BIN)/nbdev_clean

readme: install  ## README.md from nbs/index.ipynb (run that notebook first)
	@$(BIN)/jupyter nbconvert --log-level=ERROR --to markdown --stdout \
	  --TagRemovePreprocessor.enabled=True --TagRemovePreprocessor.remove_cell_tags remove_cell \
	  --TagRemovePreprocessor.remove_input_tags remove_input nbs/index.ipynb \
	  | sed -E -e 's#\]\(\.\./#](#g' -e 's#\]\(([a-z0-9_/]+\.ipynb)\)#](nbs/\1)#g' \
	  | awk '/^```/ {open = !open; if (open && $$0 == "```") $$0 = "```python"} 1' | cat -s > README.md

.PHONY: docs docs-serve
docs: install  ## the documentation site in _docs/site, from the committed outputs; make docs-serve shows it
	$(BIN)/python docs/house.py $(ARGS)

docs-serve:  ## show _docs/site at localhost:8000
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory _docs/site 8000

benchmark: install  ## class statistics against a forward pass; a matching step and a labelled step against the plain loops
	$(BIN)/python benchmarks/class_statistics.py
	$(BIN)/python benchmarks/inner_iteration.py
	$(BIN)/python benchmarks/labelled_step.py
