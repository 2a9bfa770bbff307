# The menu. Builds are described in docker-bake.hcl; logic is in Python.
.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= python3
# Reaches the engine to use: the user's own Docker, or a private one where none answers.
ENGINE = engine="$$($(PYTHON) docker_engine/engine.py env)" && eval "$$engine" &&
# Variables given to Make reach bake through the environment.
BAKE = $(ENGINE) $(PYTHON) scripts/build.py

.PHONY: help
help: ## Show this menu
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: image
image: ## Build the image; INSTALLER=path ACCEPT_EULA=Y bakes IDPS instead of the public isx
	@$(BAKE)

.PHONY: demo
demo: image ## Build the image and run it on recordings made on the spot: input/ to output/
	@$(ENGINE) $(PYTHON) scripts/demo.py

.PHONY: test
test: .venv/ready ## Run every test: unit tests in the image, pages in a browser, the image; JOBS=2: two processes for these
	@$(BAKE) test browser
	@$(ENGINE) for tag in test browser; do docker run --rm --cap-add SYS_ADMIN "$${IMAGE:-isx}:$$tag" || exit; done
	@$(ENGINE) .venv/bin/python -m pytest $(if $(JOBS),--numprocesses $(JOBS) --dist loadfile) tests/image

.PHONY: test-workflows
test-workflows: image ## Run the examples for Snakemake and IDEAS, whose programs are fetched, with the image
	@$(ENGINE) $(PYTHON) tests/workflows.py

.PHONY: test-base
test-base: image ## Build on Debian 13 and compare with the default base; UNIT=1: run the unit tests there, too
	@$(ENGINE) $(PYTHON) tests/other_base.py $(if $(UNIT),--unit)

.PHONY: test-cluster
test-cluster: image .venv/ready ## Run the image on a two-node Slurm that the tests start and stop (root on Debian)
	@$(ENGINE) .venv/bin/python -m pytest tests/cluster

.PHONY: lint
lint: ## Check Dockerfile, Python and shell (hadolint, BuildKit, ruff, shellcheck), and the workflows
	@$(BAKE) validate

.PHONY: verify-reproducible
verify-reproducible: ## Build twice without cache and show that both have one digest
	@$(ENGINE) $(PYTHON) scripts/verify_reproducible.py

.PHONY: report
report: ## Write build/report.json: what an image with IDPS is made of, nothing confidential (docs/build.md)
	@$(ENGINE) $(PYTHON) scripts/report.py

.PHONY: size
size: image ## Print what is in each layer, and whether it keeps to its budget
	@$(ENGINE) $(PYTHON) scripts/size.py

.PHONY: sbom
sbom: image ## Write the SBOM of the image to build/sbom.cdx.json (CycloneDX)
	@$(ENGINE) $(PYTHON) scripts/sbom.py

.PHONY: publish
publish: ## Push the public image that was built, with provenance and SBOM: IMAGE=registry/name
	@$(ENGINE) $(PYTHON) scripts/publish.py

.PHONY: bench
bench: ## Measure the image against what people do today, and write docs/benchmarks.md
	@$(ENGINE) $(PYTHON) bench/bench.py

.PHONY: chaos
chaos: ## Kill, starve and confuse runs; fails if one lies or the next does not complete; SEED=N
	@$(ENGINE) $(PYTHON) tests/chaos.py $(if $(SEED),--seed $(SEED))

.PHONY: fuzz
fuzz: ## Damage recordings of every kind and check that none can stop, mislead or harm a run; SEED=N VARIANTS=N
	@$(ENGINE) $(PYTHON) tests/fuzz.py $(if $(SEED),--seed $(SEED)) $(if $(VARIANTS),--variants $(VARIANTS))

.PHONY: lock
lock: ## Write the locks anew from the .in files; UPGRADE=1 takes newer releases
	@$(BAKE) lock

.PHONY: lock-check
lock-check: ## Fail if a lock does not follow from its .in file
	@$(BAKE) lock-check

.PHONY: lock-audit
lock-audit: ## Report vulnerabilities of the locks, and packages with newer versions; OSV=all.zip: without network
	@engine="$$($(PYTHON) docker_engine/engine.py env)"; eval "$$engine"; $(PYTHON) scripts/audit.py $(OSV)

.PHONY: pictures
pictures: ## Take the pictures of the README from what `make demo` made of the recording that it simulates
	@$(BAKE) browser
	@$(ENGINE) $(PYTHON) scripts/pictures.py

.PHONY: sif
sif: image ## Build build/isx.sif, the image for clusters that run Apptainer or Singularity
	@$(ENGINE) $(PYTHON) scripts/sif.py

.PHONY: engine-env
engine-env: ## Print the shell exports with which plain docker reaches the engine that Make uses
	@$(PYTHON) docker_engine/engine.py env

.PHONY: engine-down
engine-down: ## Stop the private engine, if there is one
	@$(PYTHON) docker_engine/engine.py down

.PHONY: engine-remove
engine-remove: ## Stop the private engine and delete it, with its images and caches
	@$(PYTHON) docker_engine/engine.py remove

.venv/ready: tests/host.txt
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --require-hashes --requirement tests/host.txt
	touch $@
