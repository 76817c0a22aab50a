# `make run` and `make test` do their own set-up; nothing else needs to be typed first.
PYTHON ?= python3
BIN := .venv/bin
MODEL := data/06_models/base/smollm2-135m-instruct
TINY := data/06_models/base/tiny-llama

# Threads that wait by spinning bring a busy machine to a crawl.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: help setup tiny-model run matrix test test-slow lint format bench-step bench-reader bench-credit bench-growth bench-evaluate bench-training bench-memory k8s-test kill-test clean
help:
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort

.venv/ready: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

$(MODEL)/config.json: | .venv/ready
	$(BIN)/python -m finemem_pipeline.training.small_model $(MODEL)

setup: .venv/ready $(MODEL)/config.json ## make the environment and fetch the small model

$(TINY)/config.json: | .venv/ready
	$(BIN)/python -m finemem_pipeline.training.tiny_model $(TINY)

tiny-model: $(TINY)/config.json ## make the tiny second backbone, some minutes of one core

run: setup ## train and evaluate a memory manager on this machine, about ten minutes
	$(BIN)/kedro run

matrix: setup tiny-model ## train two small backbones and have two readers judge each
	$(BIN)/kedro run --pipelines=data,qa_generation,matrix

test: .venv/ready ## the tests, without those that train a real model
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow and not gpu and not cluster and not network"

test-slow: setup ## the tests that train and serve real models, but for those of k8s-test
	$(BIN)/python -m pytest -m slow --ignore=tests/pipelines/test_on_kubernetes.py --ignore=tests/cluster --ignore=tests/k8s

lint: .venv/ready ## ruff, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/ready ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench-step: setup ## where the time of one training step goes
	$(BIN)/python benchmarks/step_time.py

bench-reader: .venv/ready ## how good the offline reader is
	$(BIN)/python benchmarks/reader_quality.py

bench-credit: .venv/ready ## what the answers behind credit cost, beside the usual way
	$(BIN)/python benchmarks/credit_time.py

bench-growth: .venv/ready ## how the cost of credit grows with streams, memories and questions
	$(BIN)/python benchmarks/credit_growth.py

bench-evaluate: setup ## how time and memory of an evaluation grow with the length of a stream
	$(BIN)/python benchmarks/evaluate_growth.py

bench-training: setup ## an update of training beside the usual ways of making one
	$(BIN)/python benchmarks/training_speed.py

bench-memory: setup ## how much memory an update takes, and whether a long training needs more and more
	$(BIN)/python benchmarks/step_memory.py

k8s-test: .venv/ready ## what can happen on a cluster, one line each, with a fake API server whose pods train for real
	$(BIN)/python -m pytest -vv --no-header tests/cluster tests/k8s tests/test_grouping.py tests/test_runner_config.py tests/test_runner.py tests/test_session.py tests/pipelines/test_on_kubernetes.py

kill-test: .venv/ready ## kill a training run again and again, and compare its end with one that was left alone
	$(BIN)/python benchmarks/kill_test.py

clean: ## remove what runs have made, keep the environment and the small model
	find data -mindepth 2 -not -name .gitkeep -not -path 'data/06_models/base*' -delete
	rm -rf mlflow.db mlartifacts
