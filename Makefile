# griddispatch. `make` alone lists what there is to make; it works from any folder with `make -C`.

.DEFAULT_GOAL := help
.PHONY: help setup reproduce test smoke verify lab format clean
MAKEFLAGS += --no-print-directory
unexport PYTHONPATH PYTHONHOME

# Every command runs in .venv, whatever is active outside.
VENV = PATH="$$(pwd -P)/.venv/bin:$$PATH"
PIP = PIP_USER=0 .venv/bin/python -m pip install -qq --no-input --disable-pip-version-check

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

reproduce: setup ## Regenerate every result, figure and table, and the paper, from raw data
	@$(VENV) python -m dvc repro
	@$(VENV) python -m griddispatch.pipeline.summary

test: setup ## Check style and types, run the tests, run the whole pipeline at its smallest size
	@$(VENV) python -m ruff check .
	@$(VENV) python -m ruff format --check .
	@$(VENV) python -m mypy src
	@$(VENV) python -m pytest
	@$(VENV) python -m griddispatch.pipeline.smoke

smoke: setup ## Run the whole pipeline at its smallest size, in a temporary clone
	@$(VENV) python -m griddispatch.pipeline.smoke

PROFILE ?= smoke
verify: setup ## Run it again in a clone, compare every published number (PROFILE=reduced: all)
	@$(VENV) python -m griddispatch.pipeline.verify --profile $(PROFILE)

lab: setup ## Open the notebooks in JupyterLab; it saves them without outputs
	@$(VENV) python -m jupyterlab --ServerApp.root_dir="$$(pwd -P)" \
	    --LabApp.default_url=/lab/tree/notebooks \
	    --ContentsManager.pre_save_hook=griddispatch.pipeline.clean.strip

format: setup ## Bring code and notebooks into their committed form
	@$(VENV) python -m ruff check --fix --quiet . || true
	@$(VENV) python -m ruff format .
	@$(VENV) python -m griddispatch.pipeline.clean notebooks/*.ipynb

clean: ## Remove finished cells, executed notebooks and trials (results and .venv stay)
	@rm -rf build/cells build/ipython build/notebooks build/staging scratch

LOCKS := requirements.lock requirements-systems.lock requirements-tools.lock
# .venv is made anew, or brought up to date, when its note of what it holds is not the lock of today.
# The note also names the folder, because a copied or moved .venv would run the code of the old one.
setup: ## Create .venv from the lock files (the other targets do this when it is needed)
	@note="$$(cat $(LOCKS) pyproject.toml | git hash-object --stdin) $$(pwd -P)"; \
	[ "$$(cat .venv/installed 2>/dev/null)" = "$$note" ] && exit 0; \
	is311='import sys; sys.exit(sys.version_info[:2] != (3, 11))'; \
	if ! .venv/bin/python -c "$$is311" 2>/dev/null; then \
	    for python in "$(PYTHON)" python3.11 python3 python none; do \
	        "$$python" -c "$$is311" 2>/dev/null && break; \
	    done; \
	    if [ "$$python" = none ]; then \
	        echo "Python 3.11 is needed, and no python3.11, python3 or python is that version;" \
	            "install it, or name it: make PYTHON=/path/to/python3.11" >&2; \
	        exit 1; \
	    fi; \
	    "$$python" -m venv --clear .venv || exit 1; \
	fi; \
	echo "Installing $$(cat $(LOCKS) | grep -c '^[^#]') pinned packages into .venv" \
	    "(once; some minutes) ..."; \
	$(PIP) $(LOCKS:%=-r %) && $(PIP) --no-index --no-deps --no-build-isolation -e . \
	    && printf '%s' "$$note" > .venv/installed
