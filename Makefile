# The one list of commands. `make run` and `make test` set up all they need (Python 3.11 or newer).
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
# The versions that the committed numbers were made with; `make PINNED= ...` in a fresh environment takes the newest.
PINNED ?= -c constraints.txt
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check $(PINNED)
# The page's packages want another Pillow than the numbers were made with, and lie apart, see requirements-app.txt.
PAGE := PYTHONPATH=$(CURDIR)/$(VENV)/app $(BIN)/python

.PHONY: help run app test test-app quick lint faults gallery reproduce figures paper-figures paper weights benchmark
.PHONY: container-check clean

help:
	@echo "make run        set up, train a few minutes on the embedded sample set, show the gain over bicubic (0.86 dB)"
	@echo "make app        set up and start the page: restore images in a browser"
	@echo "make test       set up, lint and run the whole test suite"
	@echo "make test-app   set up and test the page in a browser (needs chromium)"
	@echo "make quick      set up, lint and run the tests that take less than two minutes in all"
	@echo "make lint       check the style of the code"
	@echo "make faults     kill every command, feed it mutated files, and write the table of tests/README.md: half an hour"
	@echo "make gallery    write outputs/gallery.html, a page to look at, of the last training (RUN=NAME: of that one)"
	@echo "make reproduce  run the experiments on Mars and DIV2K that have no result yet (needs the data sets)"
	@echo "                (SCHEDULER=tcp://HOST:8786: on the machines of a Dask cluster)"
	@echo "make figures    write the tables of all pages, the curve and the pictures from results/, weights/ and runs/"
	@echo "make paper-figures  write the tables, numbers and figures of the paper: wi2_paper/generated/"
	@echo "make paper      build the paper, wi2_paper/paper.pdf (Japanese; needs LaTeX)"
	@echo "make weights    put the trained networks into weights/ (after make reproduce)"
	@echo "make benchmark  time the tiling, the restoring of large images, the starts, an update of each network, alone and shared"
	@echo "make container-check  lint Dockerfile and cloudbuild.yaml, build the image, ask the page in it (CONTAINER.md)"
	@echo "make clean      remove the environment, outputs/ and caches; data sets, runs and results stay"

run: $(VENV)/run
	$(BIN)/python download.py --dataset sample
	$(BIN)/python inception2.py --dataset sample --n-train 100 --n-updates 1000

app: $(VENV)/app/installed
	$(PAGE) app.py

test: lint
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-app: $(VENV)/app/installed $(VENV)/dev
	$(PAGE) -m pytest tests/test_app_browser.py

quick: lint
	$(BIN)/python -m pytest -m "not slow"

lint: $(VENV)/dev
	$(BIN)/ruff check .

faults: $(VENV)/dev
	$(BIN)/python -m tests.faults

gallery: $(VENV)/run
	$(BIN)/python inception2.py gallery $(if $(RUN),"$(RUN)")

reproduce: $(VENV)/run
	$(BIN)/python -m wi2_paper.reproduce $(if $(SCHEDULER),--scheduler "$(SCHEDULER)")

figures: $(VENV)/run
	$(BIN)/python -m wi2_paper.tables
	$(BIN)/python -m wi2_paper.pictures

paper-figures: $(VENV)/run
	$(BIN)/python -m wi2_paper.paper

# Of wi2_paper/generated/, which is committed: needs no Python. A cold cache of fonts takes minutes.
paper:
	@{ command -v latexmk && kpsewhich ltjsarticle.cls booktabs.sty HaranoAjiMincho-Regular.otf; } >/dev/null 2>&1 || { \
		echo "make paper needs LaTeX: apt install latexmk texlive-luatex texlive-lang-japanese" \
		"texlive-latex-recommended texlive-fonts-recommended"; exit 2; }
	cd wi2_paper && latexmk -lualatex -silent -halt-on-error -outdir=../outputs/paper paper.tex
	mv outputs/paper/paper.pdf wi2_paper/paper.pdf

weights: $(VENV)/run
	$(BIN)/python -m wi2_paper.publish

benchmark: $(VENV)/dev
	$(BIN)/python -m wi2_paper.benchmarks.tiles
	$(BIN)/python -m wi2_paper.benchmarks.restoring
	$(BIN)/python -m wi2_paper.benchmarks.starting
	$(BIN)/python -m wi2_paper.benchmarks.speed
	$(BIN)/python -m wi2_paper.benchmarks.updates
	$(BIN)/python -m wi2_paper.benchmarks.library
	$(BIN)/python -m wi2_paper.benchmarks.peer
	$(BIN)/python -m wi2_paper.benchmarks.hosts

container-check: $(VENV)/run
	$(BIN)/python -m tests.container

clean:
	rm -rf $(VENV) outputs .pytest_cache .ruff_cache

$(VENV)/run: requirements.txt constraints.txt
	@test -n "$(PYTHON)" || { echo "no Python was found: install Python 3.11, or say make PYTHON=/path/to/python3"; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(PIP) -r requirements.txt
	touch $@

$(VENV)/dev: requirements-dev.txt $(VENV)/run
	$(PIP) -r requirements-dev.txt
	touch $@

$(VENV)/app/installed: requirements-app.txt constraints-app.txt $(VENV)/run
	rm -rf $(@D)
	$(PIP:constraints.txt=constraints-app.txt) --target $(@D) -r requirements-app.txt
	touch $@
