# The two commands are `make demo` and `make test`; `make help` lists all of them.

# Whatever is fetched lies here. Deleting it costs time and nothing else.
CACHE ?= $(HOME)/.cache/probity
export CACHE

# A fresh clone for every run is what CI has: what it compiles is kept beside the rest.
ifeq ($(CI),true)
export CARGO_TARGET_DIR ?= $(CACHE)/target
endif

.DEFAULT_GOAL := help

.PHONY: help
help: ## Lists the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## From a clone to a result in one command, without Kafka or Java. Options: make demo ARGS="--seconds 20"
	@deploy/setup/system.sh build
	@ORT_DYLIB_PATH="$$(deploy/setup/onnxruntime.sh)" && export ORT_DYLIB_PATH && \
		cargo run --locked -- demo $(ARGS)

.PHONY: test
test: ## Everything that CI runs: check, the tests on real Apache Kafka, the tests in Python.
	@deploy/setup/system.sh build
	@tests/run.sh all

.PHONY: check
check: ## What needs no Kafka: format, lints, unit tests.
	@deploy/setup/system.sh build
	@tests/run.sh check

.PHONY: soak
soak: ## 200 random kills on real Kafka; writes tests/SOAK.md. Options: make soak KILLS=500 SEED=7
	@deploy/setup/system.sh build
	@KILLS="$(KILLS)" SEED="$(SEED)" tests/run.sh soak

.PHONY: bench
bench: ## What an event costs: in stages, in process, and end to end on real Kafka. Takes minutes.
	@deploy/setup/system.sh test
	@ORT_DYLIB_PATH="$$(deploy/setup/onnxruntime.sh)" && KAFKA_LIBS="$$(deploy/setup/kafka.sh)" && \
		PROBITY_PYTHON="$$(deploy/setup/python.sh tests/python/requirements.lock)" && \
		PROBITY_ORACLES="$$(deploy/setup/python.sh tests/python/oracles.lock || true)" && \
		export ORT_DYLIB_PATH KAFKA_LIBS PROBITY_PYTHON PROBITY_ORACLES && \
		cargo bench --locked

.PHONY: gpu
gpu: ## Parity and throughput on a GPU, of which LIBS has the libraries: make gpu LIBS=/folder. Skipped without one.
	@deploy/gpu.sh "$(LIBS)"

.PHONY: oracles
oracles: ## Makes the model fixtures again with Python's libraries, compares them, and verifies the signed one.
	@deploy/setup/system.sh build
	@cargo build --locked
	@python="$$(deploy/setup/python.sh tests/python/oracles.lock)" && \
		ORT_DYLIB_PATH="$$(deploy/setup/onnxruntime.sh)" && \
		PROBITY="$$(realpath "$${CARGO_TARGET_DIR:-target}/debug/probity")" && \
		export ORT_DYLIB_PATH PROBITY && \
		"$$python" -B tests/models/make.py --check && \
		"$$python" -B tests/models/reasons.py --check && \
		"$$python" -B tests/models/sign.py --check && \
		"$$python" -B tests/models/suite.py

.PHONY: real-data
real-data: ## Trains on real card payments, sends the rest through Kafka, and reports. Options: make real-data ARGS="--runs 5"
	@deploy/setup/system.sh test
	@tests/real/run.sh $(ARGS)

.PHONY: build
build: ## Compiles the program, as the tests and the demo use it.
	@deploy/setup/system.sh build
	@cargo build --locked

.PHONY: setup
setup: ## Fetches what `make test` needs, and says where it lies.
	@deploy/setup/system.sh test
	@deploy/setup/onnxruntime.sh
	@deploy/setup/onnxruntime.sh cuda
	@deploy/setup/kafka.sh
	@deploy/setup/python.sh tests/python/requirements.lock
	@deploy/setup/go.sh

.PHONY: clean
clean: ## Removes what was compiled, but not the cache.
	@cargo clean
