# griddispatch. `make` alone lists what there is to make; it works from any folder with `make -C`.

.DEFAULT_GOAL := help
.PHONY: help lab reproduce site test smoke verify lab-test faults setup format clean
MAKEFLAGS += --no-print-directory
unexport PYTHONPATH PYTHONHOME

# Every command runs in .venv, whatever is active outside. What runs long takes the place of its
# shell (exec), so that it gets the SIGTERM that make gets.
VENV = env PATH="$$(pwd -P)/.venv/bin:$$PATH"
# Compiling all modules takes as long as all the rest of an installation; few are ever imported.
PIP = PIP_USER=0 .venv/bin/python -m pip install -qq --no-compile --no-input --disable-pip-version-check

##@ Run and read

# What `make help` prints: "##@ " begins a group, "## " after a target is its line, and "##+ " adds a
# way to call the target above it.
help: ## List the targets
	@awk -F ':.*## ' '/^##@ / { printf "%s%s\n", gap, substr($$0, 5); gap = "\n" } \
	    /^[a-z][a-z-]*:.*## / { printf "  make %-11s %s\n", $$1, $$2 } \
	    /^##\+ / { printf "       %s\n", substr($$0, 5) }' Makefile

reproduce: .git setup ## Regenerate every result, figure and table, and the paper, from raw data
##+ STAGE=train_td3       only this stage and what it needs
	@$(VENV) python -m griddispatch.pipeline.preflight
	@exec $(VENV) python -m griddispatch.pipeline.schedule $(STAGE)
	@$(VENV) python -m griddispatch.pipeline.summary

lab: setup ## Open the notebooks in JupyterLab; it saves them without outputs
	@$(VENV) python -m jupyterlab --ServerApp.root_dir="$$(pwd -P)" \
	    --LabApp.default_url=/lab/tree/notebooks \
	    --ContentsManager.pre_save_hook=griddispatch.pipeline.clean.strip

site: setup ## Render notebooks as they ran, tables and guide to a site: build/site/index.html
	@$(VENV) python -m griddispatch.pipeline.site

##@ Check

test: .git setup ## Check style and types, run the tests, run the whole pipeline at its smallest size
	@$(VENV) python -m ruff check .
	@$(VENV) python -m ruff format --check .
	@$(VENV) python -m mypy src
	@$(VENV) python -m pytest
	@exec $(VENV) python -m griddispatch.pipeline.smoke

smoke: .git setup ## Run the whole pipeline at its smallest size, in a temporary clone
	@exec $(VENV) python -m griddispatch.pipeline.smoke

PROFILE ?= smoke
verify: .git setup ## Run it again in a clone, smallest size; compare what no size changes
##+ PROFILE=reduced       the published size: compare every published number
	@exec $(VENV) python -m griddispatch.pipeline.verify --profile $(PROFILE)

lab-test: setup ## Open every notebook in JupyterLab in a real browser and run all its cells
	@$(VENV) python -m pytest tests/test_laboratory.py -m ""

faults: .git setup ## Kill a run ten times at random moments and compare how it ends
	@exec $(VENV) python -m griddispatch.pipeline.faults

##@ Work on it

format: setup ## Bring code and notebooks into their committed form
	@$(VENV) python -m ruff check --fix --quiet . || true
	@$(VENV) python -m ruff format .
	@$(VENV) python -m griddispatch.pipeline.clean notebooks/*.ipynb

clean: ## Remove finished cells, executed notebooks, site, trials (results and .venv stay)
	@rm -rf build/cells build/ipython build/notebooks build/site build/staging scratch

# Only where there is none, as in an unpacked ZIP: said before the minutes of the set-up.
.git:
	@echo "This folder is no git repository (an unpacked ZIP?), and DVC needs one; clone it, or" \
	    "make it one: git init && git add --all && git commit -m copy" >&2; exit 1

LOCKS := requirements.lock requirements-systems.lock requirements-tools.lock
# .venv is made anew, or brought up to date, when its note of what it holds is not the lock of today.
# The note is taken away while packages are installed, so that an interrupted update is seen, too.
# It also names the folder, because a copied or moved .venv would run the code of the old one.
# 3.11.5 is the oldest that every pinned package takes (tests/test_docs.py compares).
setup: ## Create .venv from the lock files (the other targets do this when it is needed)
##+ PYTHON=/path/python   with this Python 3.11
	@note="$$(cat $(LOCKS) pyproject.toml | git hash-object --stdin) $$(pwd -P)"; \
	[ "$$(cat .venv/installed 2>/dev/null)" = "$$note" ] && exit 0; \
	is311='import sys; sys.exit(not (3, 11, 5) <= sys.version_info < (3, 12))'; \
	if ! .venv/bin/python -c "$$is311" 2>/dev/null; then \
	    for python in "$(PYTHON)" python3.11 python3 python none; do \
	        "$$python" -c "$$is311" 2>/dev/null && break; \
	    done; \
	    if [ "$$python" = none ]; then \
	        echo "Python 3.11 is needed, and no python3.11, python3 or python is 3.11.5 or a later" \
	            "3.11; install it, or name it: make reproduce PYTHON=/path/to/python3.11" >&2; \
	        exit 1; \
	    fi; \
	    "$$python" -m venv --clear .venv || exit 1; \
	fi; \
	rm -f .venv/installed; \
	echo "Installing $$(cat $(LOCKS) | grep -c '^[^#]') pinned packages into .venv" \
	    "(once; some minutes) ..."; \
	$(PIP) $(LOCKS:%=-r %) && $(PIP) --no-index --no-deps --no-build-isolation -e . \
	    && printf '%s' "$$note" > .venv/installed && exit 0; \
	echo "The packages could not be installed, for the reason above. Name an index (PIP_INDEX_URL=URL" \
	    "make setup) or a folder of wheels (PIP_NO_INDEX=1 PIP_FIND_LINKS=FOLDER make setup)" >&2; exit 1
