# Each target makes its own environment (.venv) first; tools/setup.sh says what it needs.

# On x86-64 .venv has a ROS 2 of its own, before which a sourced one would come.
ifneq ($(and $(ROS_DISTRO),$(filter x86_64,$(shell uname -m))),)
unexport PYTHONPATH LD_LIBRARY_PATH AMENT_PREFIX_PATH CMAKE_PREFIX_PATH RMW_IMPLEMENTATION ROS_DISTRO
endif

RUN := .venv/bin
FRAME ?= 40
BENCHMARKS ?= lidar superpixels extract io recorder node inference segments

FIGURES ?= lidar superpixels inference node recorder extract io segments scale labelling training reproduce

.PHONY: help demo test check lint docs bench figures soak picture clean

help:
	@echo 'make demo [BAG=path] [OUT=path]  from a drive to live masks and a report, in a new folder:'
	@echo '                      demo_output, demo_output_2, ...; without BAG a simulated drive'
	@echo 'make test [ARGS=...]  the whole test suite; ARGS go to pytest'
	@echo 'make check            lint, types and the quick tests'
	@echo 'make lint             ruff and mypy; Dockerfiles, workflows'
	@echo 'make docs             the docs site, in site/'
	@echo 'make bench            time the stages on this machine [BENCHMARKS="$(BENCHMARKS)"]'
	@echo 'make figures          measure on a quiet machine, for the tables of README and docs [FIGURES="..."]'
	@echo 'make soak             10,000 images through the segmentation node: does its memory grow?'
	@echo 'make picture MODEL=path BAG=path [FRAME=n]  the masks of the README'
	@echo 'make clean            remove .venv and everything built; results of demos stay'
	@echo 'PYTHON=python3.12     chooses the interpreter for .venv (3.10 to 3.14)'

demo:
	@tools/setup.sh demo
	@$(RUN)/drive-segment demo $(if $(BAG),--bag '$(BAG)') $(if $(OUT),-o '$(OUT)')

# As many processes as cores, but no more than fit into 16 GB.
test:
	@tools/setup.sh dev
	@! $(RUN)/python -c 'import xdist' 2>/dev/null || \
	    parallel='-n auto --maxprocesses 8 --dist worksteal'; \
	    $(RUN)/python -m pytest $$parallel $(ARGS)

check: lint
	@$(MAKE) --no-print-directory test ARGS='-q -m unit'

lint:
	@tools/setup.sh dev
	$(RUN)/ruff format --check .
	$(RUN)/ruff check .
	$(RUN)/mypy
	$(RUN)/hadolint --config .hadolint.yaml docker/*.Dockerfile .devcontainer/Dockerfile
	$(RUN)/check-jsonschema -q --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(RUN)/check-jsonschema -q --builtin-schema vendor.github-issue-forms \
	    .github/ISSUE_TEMPLATE/bug.yml .github/ISSUE_TEMPLATE/sensor.yml
	$(RUN)/check-jsonschema -q --builtin-schema vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml
	$(RUN)/check-jsonschema -q --builtin-schema vendor.citation-file-format CITATION.cff
	bash -n drive-segment .ci/run tools/*.sh

docs:
	@tools/setup.sh dev
	$(RUN)/mkdocs build --strict --quiet

bench:
	@tools/setup.sh dev
	@set -e; for suite in $(BENCHMARKS); do $(RUN)/drive-segment bench $$suite; done

figures:
	@tools/setup.sh dev
	@set -e; for suite in $(FIGURES); do \
	    $(RUN)/drive-segment bench $$suite --json >.figures.json; \
	    mv .figures.json docs/measured/$$suite.json; done
	@$(RUN)/python tools/make_docs.py

soak:
	@tools/setup.sh dev
	@$(RUN)/drive-segment bench soak

picture:
	@tools/setup.sh dev
	@$(RUN)/drive-segment paint '$(MODEL)' '$(BAG)' -o docs/images/masks.jpg --frame $(FRAME) --overwrite

clean:
	rm -rf .venv build install log dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
