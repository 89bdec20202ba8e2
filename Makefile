# make book | serve | test | quick | run | bench | colab-check | teacher | epub | anchors | clean. One environment, .venv, versions from
# constraints.txt.

PYTHON ?= python3
PORT   ?= 8000
# One more than two cores: tests that wait for a browser or a child process leave theirs idle.
WORKERS ?= 3
BIN    := .venv/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

# Two threads on small tensors beside a busy neighbour cost a hundred times one; CPUs with wider vectors round
# otherwise, and so does a card: `make gpu` asks it. For what is compared only: `make bench` leaves the machine alone.
steady = OMP_NUM_THREADS=1 CUDA_VISIBLE_DEVICES=
ifeq ($(shell uname -m),x86_64)
steady += ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2
endif

.PHONY: book serve test quick run bench gpu colab-check teacher epub anchors clean

# Every page anew, which takes seconds: no stale page stays, and a warning in an unchanged page is seen again.
book: .venv/.book
	rm -rf _build/html
	$(BIN)/jupyter-book build book --path-output . --config _config.yml --all -W -n --keep-going -q
	@echo "The book is built. Open _build/html/index.html in a browser, or run: make serve"

serve: book
	$(BIN)/python -m http.server $(PORT) --bind 127.0.0.1 --directory _build/html

test: book .venv/.test
	$(steady) $(BIN)/python -m pytest tests gaelib book --nbval --nbval-current-env --nbval-cell-timeout=120 \
	  -n $(WORKERS) --dist loadfile --no-loadscope-reorder --junitxml=_build/results.xml
	@echo "All passed. Run make book again and the pages carry these results."

# What says within a minute whether a change broke something: no book, no browser, no processes.
quick: .venv/.test
	$(steady) $(BIN)/python -m pytest tests/models tests/test_core.py tests/test_models.py tests/test_badinput.py \
	  tests/test_parity.py tests/test_project.py -m "not slow" -n 2 --dist worksteal -q

# Execute every notebook and write what is stored: outputs, exercise stubs, gaelib/__init__.pyi, book/api.md, anchors.
run: .venv/.test
	$(steady) $(BIN)/python tools/run.py
	$(BIN)/python tools/api.py
	$(MAKE) anchors

bench: .venv/.bench
	$(BIN)/python -m benchmarks

# On a machine with a CUDA card: its tests, every notebook, a few fits; eight minutes. Writes gaelib/results/gpu.json.
gpu: .venv/.test
	$(BIN)/python tools/gpu.py

# Every Colab copy, from its first cell to its last, in new environments: the newest versions and the oldest. Half an hour.
colab-check: book
	$(BIN)/python tools/colab_check.py $(ENVIRONMENTS)

# The site as an archive, with and without solutions, and the table of chapters: _build/teacher.
teacher: book
	$(BIN)/python tools/teacher.py

# The book as one file for e-readers: _build/epub/gaelib.epub.
epub: .venv/.book
	$(BIN)/jupyter-book build book --path-output . --config _config.yml --all -W -n --keep-going -q \
	  --builder custom --custom-builder epub

# Write down the addresses inside the pages, which a test then keeps: tests/anchors.txt.
anchors: book
	$(BIN)/python tests/test_site.py

clean:
	rm -rf _build .pytest_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

# The environment grows on demand: the pages need no torch.
.venv/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "This needs Python 3.11 or later; $(PYTHON) is $$($(PYTHON) --version 2>&1)." \
	       "Try: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv
	@touch $@

.venv/.book: .venv/.python pyproject.toml constraints.txt
	$(BIN)/python -c 'import tomllib; project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
	  print(*project["optional-dependencies"]["book"], sep="\n")' > .venv/book.txt
	$(PIP) -r .venv/book.txt
	@touch $@

.venv/.test: .venv/.book
	$(PIP) -e '.[book,test]'
	@touch $@

.venv/.bench: .venv/.test
	$(PIP) -e '.[book,test,bench]'
	@touch $@
