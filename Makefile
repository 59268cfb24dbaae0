# `make help` lists the targets. Everything is set up by make itself: Debian's packages where it may (root), then .venv.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# Debian's own python: jobs run as other users, who cannot execute an interpreter from root's home directory.
PYTHON ?= /usr/bin/python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.setup

# CBX_VM=1 adds the guest's tests to `make test`. ARGS goes to pytest (ARGS='-k lock -x') or to the demo and the benches.
# REPORTS names a folder for one JUnit file per stage: .ci/summary reads it.
CBX_VM  ?=
ARGS    ?=
REPORTS ?=

.PHONY: help setup packages run test test-unit test-root test-vm crash lint format bench accuracy chaos chaos-vm power-vm kills fuzz fuzz-input vm-image clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: packages $(STAMP) ## Debian packages that are missing (as root) and .venv

packages:
	@.ci/packages host

# Order-only: the packages are looked at every time, which is quick, but never make .venv out of date.
$(STAMP): pyproject.toml supervisor/bin/cbx-sandbox | packages
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --use-pep517 -e '.[test,lint]'
	touch $@

run: setup ## the demonstration
	$(BIN)/python -m cbx_supervisor.demo $(ARGS)

# Three stages, a pytest each:
#   unit  needs nothing, so it runs in parallel;
#   root  mounts, makes cgroups and measures time, so its tests run one after the other; in CI, the guest runs beside them;
#   vm    one pytest on the host drives one guest, in order: parallel workers would each want a guest of their own.
# A test that is both `root` and `vm` is in two stages, as [host] and as [guest]. Without CBX_VM=1 the guest's tests are
# reported as skipped by the first two. Exit status 5, nothing selected, is no failure of a stage.
elsewhere := $(if $(filter 1,$(CBX_VM)),--place=host,)
pytest = $(BIN)/python -m pytest $(if $(REPORTS),--junitxml=$(REPORTS)/$(1).xml,) $(2) $(ARGS) </dev/null || [ $$? -eq 5 ]

test: test-unit test-root $(if $(filter 1,$(CBX_VM)),test-vm,) ## all tests this host can run; CBX_VM=1 adds the guest's

test-unit: setup ## the tests that need nothing, in parallel
	$(call pytest,unit,-m 'not root' $(elsewhere) -n auto)

test-root: setup ## the tests that need root, on this host
	$(call pytest,root,-m root $(elsewhere))

test-vm: setup ## the guest's tests (QEMU, no KVM needed); builds the guest if it has to
	@.ci/packages vm
	$(call pytest,vm,-m vm --vm --place=guest)

vm-image: setup ## build the guest and save its booted state, unless that is done
	@.ci/packages vm
	$(BIN)/python -m tests.vm.image

# Fails when it has seen fewer states than STATES, also where none of them was torn.
STATES ?= 2000
crash: setup ## commits and undos stopped, failed and without power, 2,000 states; `make test-root` has a sample
	CBX_CRASH=1 CBX_CRASH_STATES=$(STATES) $(BIN)/python -m pytest -m crash --place=host -n auto --dist=worksteal --timeout=3600 \
	  $$(grep -rl --include='test_*.py' 'mark.crash' tests) $(ARGS) </dev/null

lint: setup ## ruff, mypy and the arrows between packages
	@failed=0; for check in 'ruff check' 'ruff format --check' mypy lint-imports; do \
	  echo "$(BIN)/$$check"; $(BIN)/$$check || failed=1; \
	done; exit $$failed

format: setup ## let ruff rewrite what it can
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

bench: setup ## side by side with peers, as ratios
	@.ci/packages bench
	$(BIN)/python tests/bench/run.py $(ARGS)

accuracy: setup ## the goals of the command analysis; CBX_CORPUS names a corpus (../shared/corpus where it is there)
	$(BIN)/python -m tests.bench.accuracy $(if $(REPORTS),--junit $(REPORTS)/accuracy.xml,) $(ARGS)

chaos: setup ## 500 jobs while the supervisor is killed 20 times; ARGS='--jobs N --kills N --seed N'
	$(BIN)/python -m tests.daemon.durable.campaign $(ARGS)

kills: setup ## the supervisor is killed at every boundary that a job of each tier passes; ARGS='--every N --first N --tier T'
	$(BIN)/python -m tests.daemon.durable.boundaries $(ARGS)

chaos-vm: setup ## the same in the guest, with the service that systemd restarts
	@.ci/packages vm
	CBX_CHAOS=1 $(BIN)/python -m pytest -m vm --vm --place=guest tests/vm/test_service.py -k 'killed_at_random and full' -s $(ARGS) </dev/null

power-vm: setup ## QEMU killed 21 times during commits and undos, on a disk that forgets what was not flushed; ARGS='-k xfs'
	@.ci/packages vm
	CBX_CHAOS=1 $(BIN)/python -m pytest -m vm --vm --place=guest tests/vm/test_power_cuts.py -s $(ARGS) </dev/null

# RUNS bounds the work, not the time; a crash is written to the folder that libFuzzer names, and belongs into a test.
RUNS ?= 20000
fuzz: setup ## coverage-guided fuzzing of the parser and the analysis; RUNS says how many texts
	$(BIN)/python -m pip install -q --use-pep517 -e '.[test,fuzz]'
	$(BIN)/python -m tests.fuzz.target -runs=$(RUNS) -max_len=4096 -artifact_prefix=/tmp/ $(ARGS)

fuzz-input: setup ## a million hostile frames, a hundred thousand commands; ARGS='--frames N --commands N --asked N --live N --seed N'
	$(BIN)/python -m tests.fuzz.campaign $(ARGS)

clean: ## remove what make made here; the guest's cache stays
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find sandbox supervisor tests -name __pycache__ -prune -exec rm -rf {} +
