# Two commands do everything on a fresh machine: `make demo` and `make test`. Both are quick the second time.
#   make demo MODEL=gpt-2 PROMPT="Once upon a time"     the same with another model and prompt
#   make test ROOM=gpt2_text_prediction/engine          the tests of one room, or of one file of it

PYTHON ?= python3
VENV   ?= .venv
MODEL  ?= gpt-2-mini
SCHEDULES ?= 2000
GENERATIONS ?= 10000
# Only from make's command line: shells have a PROMPT of their own in the environment.
ifneq ($(origin PROMPT),command line)
PROMPT = The poem was written by
endif

# The prompt goes to the demo through the environment, as it is: neither make nor the shell reads it.
export DEMO_PROMPT := $(value PROMPT)
unexport PROMPT

BIN  = $(VENV)/bin
DEMO = demos/gpt2_text_prediction_demo/python/gpt2_text_prediction_demo.py
IR   = public/$(MODEL)/FP16/$(MODEL).xml

.PHONY: demo test soak docs wheel clean

demo: $(VENV)/installed
	@printf '\n$$ omz_downloader --name %s\n' '$(MODEL)'
	@$(BIN)/omz_downloader --name '$(MODEL)'
	@printf '\n$$ omz_converter --name %s --precisions FP16\n' '$(MODEL)'
	@$(BIN)/omz_converter --name '$(MODEL)' --precisions FP16
	@printf '\n$$ python $(DEMO) -m %s -i "%s" --top_k 20\n' '$(IR)' "$$DEMO_PROMPT"
	@$(BIN)/python $(DEMO) -m '$(IR)' -i "$$DEMO_PROMPT" --top_k 20

# All tests on all processors; those of one room sooner in one process, which has nothing to start.
test: $(VENV)/installed-test
	$(BIN)/python -m pytest $(if $(ROOM),tests/$(ROOM),--numprocesses auto --dist worksteal) $(PYTEST_OPTIONS)

# The downloader through ten times as many random schedules of faults as `make test` tries, the memory of 10000
# generations, and 3000 releases of a small model in one process and at the end of as many; the last takes an hour.
soak: $(VENV)/installed-test
	$(BIN)/python -m pytest tests/omz_model_tools/download/test_fault_schedules.py --fault_schedules $(SCHEDULES)
	$(BIN)/python -m pytest tests/gpt2_text_prediction/test_soak.py --generations $(GENERATIONS)

# The site of the documentation, in ./site; a link that leads nowhere is an error.
docs: $(VENV)/installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo 'The site: site/index.html; to look at it: $(BIN)/python -m http.server --directory site'

# With the commit's time in it, so that the same commit gives the same bytes; setuptools would take up an old build/.
wheel: $(VENV)/bin/python
	@rm -rf build
	@SOURCE_DATE_EPOCH=$${SOURCE_DATE_EPOCH:-$$(git log -1 --format=%ct)} \
		$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	@ls dist/*.whl

$(VENV)/installed: setup.cfg pyproject.toml | $(VENV)/bin/python
	@echo 'Installing this checkout into $(VENV) ...'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/installed-test: setup.cfg pyproject.toml | $(VENV)/bin/python
	@echo 'Installing this checkout and its [test] extra into $(VENV) ...'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@ $(VENV)/installed

$(VENV)/installed-docs: setup.cfg pyproject.toml | $(VENV)/bin/python
	@echo 'Installing this checkout and its [docs] extra into $(VENV) ...'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	@touch $@ $(VENV)/installed

$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo '$(PYTHON) is not found: install Python 3.10 or newer' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "expected Python 3.10 or newer, got `$(PYTHON) -V`: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo '$(PYTHON) cannot make virtual environments: install python3-venv (apt install python3-venv)' >&2; exit 1; }
	@echo 'Making the virtual environment $(VENV) ...'
	@$(PYTHON) -m venv $(VENV)

clean:
	rm -rf $(VENV) public site build dist *.egg-info
