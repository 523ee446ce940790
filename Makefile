# `make` prints what there is. Every target sets up what it needs, see tools/setup.sh.

PY := .venv/bin/python
PYTEST := $(PY) -m pytest -q
SETUP := tools/setup.sh
C_FILES := $(wildcard csrc/*.[ch])
ARGS ?=

.PHONY: help dev build debug asan test test-long test-all test-redis-versions bare leaks reliability fuzz soak \
	libraries compat compat-fast lint fmt type docs bench profile instructions demo coverage sdist wheel package clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-20s %s\n", $$1, $$2 }' Makefile
	@echo "ARGS=... is handed to pytest, the benchmarks and the demo."

demo: ## Set up, then run the examples against a local Redis server
	@$(SETUP) test
	@$(PY) examples/demo.py $(ARGS)

# Two tests at a time, on servers of their own; most of them wait. One on a server that is given.
WORKERS ?= $(if $(REDIS_HOST)$(REDIS_URL)$(REDIS_UNIX_SOCKET_PATH)$(ARGS),0,2)

test: ## Set up, then run the test suite (WORKERS=0: one test after the other)
	@$(SETUP) test
	$(PYTEST) -n $(WORKERS) --dist loadgroup $(ARGS)

test-long: ## The test suite with the tests that take minutes
	@$(SETUP) test
	$(PYTEST) -m '' $(ARGS)

test-all: ## The test suite on every Python that is here (ARGS='--server valkey-server -n 2 tests/core')
	@$(SETUP) test
	$(PY) tools/test_all.py $(ARGS)

bare: ## make demo and make test on a bare Debian, as root and as a user (ARGS=trixie)
	tools/bare_debian.sh $(ARGS)

leaks: ## Only the tests that look for leaked references, descriptors and memory
	@$(SETUP) test
	$(PYTEST) -m leaks $(ARGS)

reliability: ## Faults of every kind, at length; writes the table of docs/reliability.md
	@$(SETUP) test
	AIECS_REDIS_FIGURES=docs/reliability.md $(PYTEST) -m '' tests/reliability $(ARGS)

fuzz: ## Fuzz parser, encoder and names with clang's libFuzzer (ARGS=-max_total_time=600, ARGS=seeds)
	@$(SETUP) test
	tools/fuzz.sh reply $(ARGS)
	tools/fuzz.sh encode $(ARGS)
	tools/fuzz.sh names $(ARGS)

soak: ## Mixed load with faults; fails when memory or descriptors grow (ARGS='--minutes 30')
	@$(SETUP) test
	$(PY) tools/soak.py $(ARGS)

libraries: ## Other people's libraries (arq, Celery, python-socketio, ...) on our client
	@$(SETUP) test libraries
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-deps 'arq>=0.26'
	$(PYTEST) -m '' tests/libraries $(ARGS)

compat: ## redis-py's own asyncio tests on our classes, several minutes
	@$(SETUP) test compat
	PYTHONPATH=tests $(PY) -m compat $(ARGS)

compat-fast: ## Less than a minute of them
	@$(SETUP) test compat
	PYTHONPATH=tests $(PY) -m compat --fast $(ARGS)

test-redis-versions: ## The test suite with every redis-py that installs, half an hour
	@$(SETUP) test
	$(PY) tools/redis_versions.py $(ARGS)

dev: ## .venv with all tools, extension built in place
	@$(SETUP) test dev

build: ## Build the extension in place (AIECS_REDIS_BUILD, AIECS_REDIS_WERROR are heeded)
	@$(SETUP) test

debug: ## Test suite with assertions and invariant checks compiled in, not optimized
	@$(SETUP) test
	tools/variant.sh debug $(CURDIR)/$(PYTEST) $(ARGS)

# What runs C code in ways of its own; the toolkit and the tools only call it.
ASAN_TESTS := tests/core tests/reliability tests/test_drop_in.py tests/test_redis_client.py \
	tests/test_constructor_options.py tests/test_response_callbacks.py tests/test_tokens.py \
	tests/test_monitor.py tests/sentinel/test_sentinel.py tests/cluster/test_cluster_client.py \
	tests/cluster/test_cluster_finalizers.py

asan: ## Tests of the core and the clients under the address and undefined-behaviour sanitizers
	@$(SETUP) test
	tools/variant.sh asan $(CURDIR)/$(PYTEST) -m 'not long and not leaks' $(or $(ARGS),$(ASAN_TESTS))
	@# Freed memory is kept back to find late uses of it; to the leak tests that is growth.
	test -n "$(ARGS)" || ASAN_OPTIONS=quarantine_size_mb=1 \
		tools/variant.sh asan $(CURDIR)/$(PYTEST) -m 'leaks and not long' tests/core

coverage: ## Test suite, then line coverage of csrc/
	@$(SETUP) test dev
	tools/variant.sh coverage $(CURDIR)/$(PYTEST) $(ARGS)
	cd build/coverage && $(CURDIR)/$(PY) -m gcovr --filter csrc/ --print-summary

lint: ## ruff, clang-format, workflows, wheels' settings, and our C files with warnings as errors
	@$(SETUP) test dev
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	.venv/bin/clang-format --dry-run --Werror $(C_FILES)
	.venv/bin/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	.venv/bin/zizmor --offline --quiet .github/workflows
	for system in linux macos; do $(PY) -m cibuildwheel --print-build-identifiers --platform $$system \
		--archs all >build/wheels-$$system || exit 1; done
	AIECS_REDIS_WERROR=1 $(PY) setup.py --quiet build_ext --build-lib build/werror

fmt: ## Format Python and C
	@$(SETUP) test dev
	$(PY) -m ruff check --fix-only --quiet .
	$(PY) -m ruff format .
	.venv/bin/clang-format -i $(C_FILES)

type: ## mypy --strict and pyright on package and sample programs; the stubs against redis-py
	@$(SETUP) test dev
	$(PYTEST) -m '' tests/test_typing.py tests/test_type_signatures.py tests/test_reply_types.py $(ARGS)

docs: ## The documentation site, into build/site; warnings are errors
	@$(SETUP) docs
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --quiet --clean $(ARGS)

bench: ## Benchmarks against other clients, 20 minutes; rewrites docs/performance.md (ARGS=--short: 4)
	@$(SETUP) test bench
	$(PY) -m benchmarks $(ARGS)

profile: ## Where the CPU time of a command goes, by Linux perf; rewrites its part of docs/performance.md
	@$(SETUP) test
	$(PY) -m benchmarks.profile_cpu --publish $(ARGS)

instructions: ## Does a command need more instructions than noted, and which function (ARGS=--update)
	@PROGRAMS=valgrind $(SETUP) test
	$(PY) -m benchmarks.instructions $(ARGS)

sdist: ## Source distribution with the pinned C sources in it
	@$(SETUP) dev
	$(PY) -m build --sdist

wheel: ## Wheel of this interpreter, with its libraries in it, tested without a compiler (ARGS=tests/core)
	@$(SETUP) dev
	tools/wheel.sh $(ARGS)

package: ## Build both, and install the source distribution without an index
	@$(SETUP) dev
	tools/check_package.sh

clean: ## Remove what was built (.venv and vendored/ stay)
	rm -rf build dist *.egg-info aiecs_redis/*.so .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
