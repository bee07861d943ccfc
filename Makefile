# Short names for what CONTRIBUTING.md describes. `make` alone builds the configured studies.
PY = .venv/bin/python

.PHONY: all setup test lint format schemas lock size gc forget export import benchmarks slurm-test ci-long ci

all: setup
	.venv/bin/snakemake

setup:
	python3 envs/setup.py

test: setup
	$(PY) -m pytest

lint:
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	.venv/bin/pyright
	.venv/bin/lint-imports
	.venv/bin/snakefmt --check Snakefile rules
	.venv/bin/snakemake --lint

format:
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .
	.venv/bin/snakefmt Snakefile rules

schemas:  # JSON schemas and model shapes, after a change of plan/config.py or of a model
	$(PY) -m workflow_scripts.schemas

lock:  # after a change of dependencies in pyproject.toml
	.uv/bin/uv pip compile pyproject.toml --group dev --universal --generate-hashes --no-emit-index-url --no-header -q -o envs/lock.txt
	.uv/bin/uv pip compile envs/slurm.in --no-deps --universal --generate-hashes --no-emit-index-url --no-header -q -o envs/slurm.txt

size:
	$(PY) -m workflow_scripts.store size

gc:  # lists what no study plans; make gc delete=1 deletes it
	$(PY) -m workflow_scripts.store gc $(if $(delete),--delete)

forget:  # make forget cell=IDENTITY: the next run makes it again
	$(PY) -m workflow_scripts.store forget "$(cell)"

export:  # make export file=store.tar
	$(PY) -m workflow_scripts.store export "$(file)"

import:
	$(PY) -m workflow_scripts.store import "$(file)"

benchmarks:  # each writes its figures to benchmarks/results/
	$(PY) -m benchmarks.dry_run
	$(PY) -m benchmarks.scores
	$(PY) -m benchmarks.augment
	$(PY) -m benchmarks.engine

slurm-test:  # as root, on Debian: a real Slurm on this machine, studies through it, everything stopped again
	python3 envs/setup.py --slurm
	tests/slurm/cluster.sh start
	trap 'tests/slurm/cluster.sh stop' EXIT; SPARSE_ORTHO_SLURM_UP=1 $(PY) -m pytest -n 0 tests/slurm

ci-long:  # what takes too long for every change: published accuracies through the pipeline, faults of a cluster
	$(PY) -m benchmarks.lenet300_100
	$(PY) -m benchmarks.masks_before_training
	python3 envs/setup.py --slurm
	$(PY) -m benchmarks.slurm

ci:
	bash .ci/run
