# Two commands do everything on a fresh machine: `make image` and `make test`. Both set up first, once.
#
# setup installs: system packages (script/setup names them; asks apt as root or through sudo), and a virtual
# environment in .venv with cc-images; the development tools come with `make check`. `make image ARCH=arm64` on another
# host, and `make test`, install QEMU for arm64 and a C compiler besides; `make test` also the programs through which the
# tests look, and those of containers (README.md). It writes this host's mirrors to ~/.config/cc-images/settings.yaml, if
# there is no such file. Nothing else on the host is changed; only `make schedule` installs something outside of this folder.

PYTHON ?= python3
# tests start Python often, and read it compiled
unexport PYTHONDONTWRITEBYTECODE
VENV := .venv
BIN := $(VENV)/bin
TAG ?= cc-debian12
LISTEN ?= 127.0.0.1:8080
TAGS ?= cc-debian12 cc-debian12-cuda cc-debian13 cc-ubuntu22.04 cc-ubuntu24.04
ARM64_TAGS ?= cc-debian12 cc-debian13
# this host's own architecture, by Debian's name
HOST := $(if $(filter aarch64,$(shell uname -m)),arm64,amd64)
ARCH ?= $(HOST)
# real tests that boot nothing: most of the sites and small builds. They run beside the others, whose guests take a core each
ASIDE := $(addprefix tests/real/test_,$(addsuffix .py,apptainer bills container_definitions container_gate containerfiles fleet_crash glance glance_crash image_signature kept_trees layering month outputs publishing reconcile_deep registry requests retire sandbox spack spack_requests swift_catalogue terminal tiny wheel))
LONGEST := --durations=0 --durations-min=5
FOREIGN := $(if $(filter $(HOST),$(ARCH)),,$(VENV)/.foreign)

.DEFAULT_GOAL := help
.PHONY: help setup image images schedule unschedule test deep check sites serve bench clean

help:  ## show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

setup: $(VENV)/.ready  ## install the system packages and the environment in .venv

$(VENV)/.ready: pyproject.toml script/setup
	script/setup $(VENV) $(PYTHON)
	touch $@

$(VENV)/.foreign: $(VENV)/.ready script/setup
	script/setup --foreign
	touch $@

image: setup $(FOREIGN)  ## build the default image (TAG=cc-debian12), boot it, and publish it to the local site
	$(BIN)/cc-images -b -p -a $(ARCH) $(TAG)

images: setup $(VENV)/.foreign  ## the same with TAGS, and ARM64_TAGS for arm64; by default all that docs/verified.md names
	$(BIN)/cc-images -b -p -a $(HOST) $(TAGS)
	$(BIN)/cc-images -b -p -a arm64 $(ARM64_TAGS)

$(VENV)/.tests: $(VENV)/.foreign $(VENV)/.dev script/setup
	script/setup --tests
	touch $@

schedule: setup $(FOREIGN)  ## let this host build and publish what changed every night: script/schedule says what it installs
	script/schedule

unschedule:  ## remove what make schedule has installed; the store and the environment stay
	script/schedule --remove

$(VENV)/.dev: $(VENV)/.ready
	script/setup --dev $(VENV)
	touch $@

# Half of the tests' time is waiting, so there are more processes than cores; the first time, one compiles for all.
check: $(VENV)/.dev  ## lint, types, layers, unit tests without the long ones
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@$(BIN)/mypy & types=$$!; [ -d tests/__pycache__ ] || $(BIN)/pytest -qq --collect-only --ignore=tests/real > /dev/null; \
	$(BIN)/pytest -q -n 4 --dist worksteal --ignore=tests/real; tests=$$?; \
	wait $$types && [ $$tests -eq 0 ]

test: export CC_IMAGES_TEST_LONG = 1
test: $(VENV)/.tests check  ## everything, real builds and boots included; at the end it says how long each real test took
	@$(BIN)/pytest $(LONGEST) $(ASIDE) > $(VENV)/aside.log 2>&1 & aside=$$!; \
	$(BIN)/pytest $(LONGEST) tests/real $(ASIDE:%=--ignore=%) & others=$$!; \
	trap "kill $$aside $$others 2> /dev/null; wait" EXIT; trap "exit 130" HUP INT TERM; \
	wait $$others; booting=$$?; wait $$aside; beside=$$?; cat $(VENV)/aside.log; \
	[ $$booting -eq 0 ] && [ $$beside -eq 0 ]

deep:  ## the same with the tests that take minutes each although others of their kind have run
	CC_IMAGES_TEST_DEEP=1 $(MAKE) test

sites: setup  ## run a Keystone and two Glances on loopback for trying out, until Ctrl-C
	folder=$(or $(FOLDER),$$(mktemp -d)); trap '[ -n "$(FOLDER)" ] || rm -rf "$$folder"' EXIT; \
	$(BIN)/python -m tests.support.testbed "$$folder"

$(VENV)/.service: $(VENV)/.ready script/setup
	script/setup --service $(VENV)
	touch $@

serve: $(VENV)/.service  ## start the service for requests over HTTP (LISTEN=127.0.0.1:8080), with a first account
	script/serve $(VENV) $(LISTEN)

bench: setup $(VENV)/.foreign  ## measure what docs/performance.md claims
	$(BIN)/python bench/startup.py
	PYTHONPATH=. $(BIN)/python -W ignore bench/upload.py
	PYTHONPATH=. $(BIN)/python -W ignore -m bench.scale
	PYTHONPATH=. $(BIN)/python -m bench.cache
	PYTHONPATH=. $(BIN)/python -m bench.boot
	PYTHONPATH=. $(BIN)/python -m bench.arm64
	PYTHONPATH=. $(BIN)/python -m bench.containers
	PYTHONPATH=. $(BIN)/python -m bench.transfer
	PYTHONPATH=. $(BIN)/python -m bench.service

clean:  ## remove the environment and the caches of the development tools
	rm -rf $(VENV) $(VENV)-services dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
