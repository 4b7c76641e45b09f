# `make` alone lists the commands. Each does its own set-up; a second run does none of it again.

SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
PORT ?=
WORKERS ?= 2
OUTPUTS ?=
TO ?= _build/student
CLASS_SEED ?= 0

# Nothing of the caller's Python reaches .venv.
unexport PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONWARNINGS

.PHONY: help book serve slides pdf notebooks lite test check release student lint bench lock clean distclean python system

help:  ## list the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

book: python  ## build the book into _build/html
	@.venv/bin/python tools/build_book.py

serve: book  ## build it, then show it at http://127.0.0.1:8000 (another port: make serve PORT=8080)
	@.venv/bin/python tools/serve.py $(PORT)

slides: book  ## build the book with its decks of slides, one a chapter, in _build/html/slides
	@echo "==> the decks: $$(cd _build/html/slides && echo *.html)"

pdf: book system  ## print the whole book into _build/pdf/book.pdf
	@.venv/bin/python tools/make_pdf.py

notebooks: book  ## write a plain notebook a chapter into _build/notebooks (with what the cells give: OUTPUTS=1)
	@.venv/bin/python tools/make_notebooks.py $(if $(OUTPUTS),--outputs)

lite: python  ## build a JupyterLab that runs the chapters in the browser into _build/lite
	@.venv/bin/python tools/make_lite.py

# The book is built first, which runs its notebooks; a test holds the build to have run every cell of them as they are.
# The releases, which the build doesn't run, nbval does. If the build fails, the book's tests say so at the end.
test: python system  ## run every test: style, units, notebooks, book, browser, grading
	@.venv/bin/python tools/build_book.py || echo "==> the book did not build; the other tests run all the same"
	@echo "==> running the tests"
	@OMP_NUM_THREADS=1 .venv/bin/python -m pytest tests chapters/homework-*.ipynb --nbval-lax \
	  -n $(WORKERS) --dist loadfile --no-loadscope-reorder -rs --durations 10

release: book system  ## write the problem sets' releases, and check that no answer leaks
	@.venv/bin/python -m autograder release
	@rm -rf _build/wheel
	@.venv/bin/python -m pip wheel . --quiet --no-deps --no-build-isolation --wheel-dir _build/wheel
	@.venv/bin/python -m autograder check --in _build/html --in _build/wheel/cnnlib-*.whl

student: python  ## write a repository without solutions for Binder and nbgitpuller: make student TO=FOLDER
	@.venv/bin/python -m autograder student "$(TO)" --class-seed $(CLASS_SEED)

check: python  ## for every change: style, types, and the tests that need no browser, sandbox, book or minute
	@.venv/bin/ruff check .
	@.venv/bin/mypy
	@OMP_NUM_THREADS=1 .venv/bin/python -m pytest tests -m "not (slow or browser or book or sandbox)" -q -n $(WORKERS) --dist loadfile

lint: python  ## check the style of code and notebooks
	@.venv/bin/ruff check .

bench: python  ## time cnnlib against plain torch.nn
	@.venv/bin/python -m benchmarks

lock: python  ## write constraints.txt anew after a change of requirements.txt
	@.venv/bin/python tools/lock.py

clean:  ## remove what was built
	rm -rf _build .pytest_cache .ruff_cache .hypothesis

distclean: clean  ## remove the virtual environment too
	rm -rf .venv

python:
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 or newer is needed; type:"; \
	  echo "    sudo apt-get update && sudo apt-get install -y python3 python3-venv"; exit 1; }
	@$(PYTHON) tools/setup.py python

system: python
	@$(PYTHON) tools/setup.py system
