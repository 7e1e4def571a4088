# Each target makes .venv first when it is not there. Tests and demo need some programs of the system: see tests/system-packages;
# tests and bench also some packages of npm, which go into .node: see tests/support/node_packages.py.
PYTHON ?= python3
BIN = .venv/bin
READY = .venv/ready
PREPARE = tests/system-packages && $(BIN)/python -m tests.support.node_packages
SCRIPTS = sdc_thoth/node.sh tests/system-packages .ci/run thoth/analysis/environment.sh thoth/analysis/job/[!j]* thoth/analysis/bundled/* \
	$(filter-out %.py,$(wildcard install/*)) smf/postboot smf/collector cron/run-thoth

.PHONY: demo test lint bench soak dist clean

demo: $(READY) ; @tests/system-packages && $(BIN)/python -m tests.demo
# Two at a time: much of a test's time is waiting.
test: $(READY) ; @$(PREPARE) && $(BIN)/python -m pytest -n 2 --dist worksteal
soak: $(READY) ; @$(PREPARE) && $(BIN)/python -m pytest --soak
bench: $(READY) ; @$(PREPARE) && $(BIN)/python -m tests.bench
lint: $(READY) ; $(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/mypy install/*.py && for script in $(SCRIPTS); do bash -n $$script || exit 1; done
dist: $(READY) ; $(BIN)/python install/pack.py build .venv/wheels dist
clean: ; rm -rf .venv .node dist

$(READY): pyproject.toml
	@echo "making .venv"
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check 'pip>=25.1'
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable . --group dev
	@$(BIN)/python install/pack.py fetch .venv/wheels
	@touch $(READY)
