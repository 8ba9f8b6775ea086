# Everything a new machine needs: Python 3.11-3.13, git and make.
PYTHON ?= python3
VENV ?= .venv
READY := $(VENV)/.ready
export PATH := $(abspath $(VENV))/bin:$(PATH)

# One Ray head for all stages, started only when a stage is out of date.
REPRO = dvc status --quiet --with-deps $(1) || structxlip with-ray dvc repro $(1)

# DVC asks for a git repository unless it is told that there is none.
NO_GIT = git rev-parse --git-dir >/dev/null 2>&1 || dvc config --quiet --local core.no_scm true

.PHONY: demo demo-photos demo-paper up down pull-champion test lint docs lock

demo: $(READY)
	@$(call REPRO,package@scenes index@scenes)
	@structxlip register scenes
	@structxlip report --dataset scenes
	@echo "search these images in a page: $(VENV)/bin/structxlip serve scenes"

demo-photos: $(READY)
	@test -n "$(DATA)" || { echo "say where the photographs are: make demo-photos DATA=/path/to/flickr8k" >&2; exit 2; }
	@structxlip activate photos --path "$(DATA)"
	@$(call REPRO,package@photos)
	@structxlip register photos
	@structxlip report --dataset photos

demo-paper: $(READY)
	@structxlip recipe paper_tiny
	@$(call REPRO,package@scenes)
	@structxlip register scenes
	@structxlip report --dataset scenes

up: $(READY)
	@python -m tasks.services up

down: $(READY)
	@python -m tasks.services down

# On a fresh machine: the champion from MLFLOW_TRACKING_URI, its index from the remote of DVC.
pull-champion: $(READY)
	@test -n "$(DATASET)" || { echo "say which one: make pull-champion DATASET=scenes" >&2; exit 2; }
	@mlflow artifacts download --artifact-uri "models:/structxlip-$(DATASET)@champion" --dst-path "models/$(DATASET)/champion"
	@dvc pull "index@$(DATASET)"

test: $(READY)
	@pytest --numprocesses=3 --dist=loadgroup --no-loadscope-reorder

lint: $(READY)
	@ruff check .
	@ruff format --check .
	@mypy

docs: $(READY)
	@NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet
	@echo "the documentation is in .cache/site/index.html"

# torch goes first: of all packages it is the one whose build depends on the machine.
$(READY): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 14) else "structxlip needs Python 3.11 to 3.13, not %d.%d; run make PYTHON=python3.12" % sys.version_info[:2])'
	@test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (a few minutes the first time)"
	@$(VENV)/bin/pip install --quiet --constraint requirements.lock torch torchvision
	@$(VENV)/bin/pip install --quiet --constraint requirements.lock --editable '.[pipeline,offline,dev]'
	@$(NO_GIT)
	@touch $@

lock:
	@rm -rf .cache/lock && $(PYTHON) -m venv .cache/lock
	@.cache/lock/bin/pip install --quiet '.[pipeline,offline,dev]'
	@.cache/lock/bin/pip freeze | grep -v '^structxlip' > requirements.lock
	@rm -rf .cache/lock
