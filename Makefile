# Everything runs in a virtual environment of its own; each target sets it up if it is missing or out of date.
PYTHON ?= python3
VENV ?= .venv
INSTALLED := $(VENV)/installed
WITH_PEERS := $(VENV)/installed-with-peers
WITH_DOCS := $(VENV)/installed-with-docs
WHEEL_VENV := build/wheel-venv

# what one process has compiled of torch and the others, and of the tests, the next ones read: each would take ten seconds
unexport PYTHONDONTWRITEBYTECODE

.PHONY: compare schemes gradients paper test mutants lint test-wheel docs benchmark clean

# no-compile: of 15,000 files few are ever imported, and those are compiled then
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --no-compile -c constraints.txt -e ".[test,dev]"
	touch $@

$(WITH_PEERS): $(INSTALLED)
	$(VENV)/bin/python -m pip install --quiet -c constraints.txt -e ".[benchmark]"
	touch $@

$(WITH_DOCS): $(INSTALLED)
	$(VENV)/bin/python -m pip install --quiet -c constraints.txt -e ".[docs]"
	touch $@

compare: $(INSTALLED) ## train on the shifter and on digits, print one table, write figures to results/
	$(VENV)/bin/python -m analysis.compare --out results

schemes: $(INSTALLED) ## what each inference scheme learns, at equal steps and equal seconds, in results/schemes
	$(VENV)/bin/python -m analysis.schemes --out results/schemes

gradients: $(INSTALLED) ## bias, variance and cost of each scheme's gradient against the exact one, in results/gradients
	$(VENV)/bin/python -m analysis.gradients.measure --out results/gradients

paper: $(INSTALLED) ## reproduce the figures of the paper and its shifter machines, in results/paper
	$(VENV)/bin/python -m analysis.paper.reproduce --out results/paper

test: $(INSTALLED) ## run the tests
	$(VENV)/bin/pytest -n auto --dist worksteal # who is done takes over what others have left

mutants: $(INSTALLED) ## put old, wrong behaviour back, one change at a time, and see that a test fails
	$(VENV)/bin/python -m tests.mutants

lint: $(INSTALLED) ## style and types
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy

test-wheel: $(INSTALLED) ## build the wheel, and test in a clean environment without extras what packaging can break
	rm -rf build dist
	$(VENV)/bin/python -m build --quiet
	$(PYTHON) -m venv $(WHEEL_VENV)
	$(WHEEL_VENV)/bin/python -m pip install --quiet --no-compile -c constraints.txt "$$(ls dist/*.whl)" pytest
	mkdir build/elsewhere # where no checkout stands in the way of the wheel
	cd build/elsewhere && ../wheel-venv/bin/python -c "import pyro_helm; assert 'site-packages' in pyro_helm.__file__"
	cd build/elsewhere && ../wheel-venv/bin/pyro-helm fit bars --sizes 8 --epochs 1 --restarts 2 --out run
	cd build/elsewhere && ../wheel-venv/bin/pytest --import-mode=importlib ../../tests/test_package.py

docs: $(WITH_DOCS) ## build the site into build/docs, run the tutorials, check every link; open build/docs/index.html
	$(VENV)/bin/python -m sphinx -b html -W --keep-going -q docs build/docs
	$(VENV)/bin/python docs/check_site.py build/docs

benchmark: $(WITH_PEERS) ## every claim of speed, beside Pyro, NumPyro and loops by hand in PyTorch and JAX, in results/benchmarks
	$(VENV)/bin/python -m analysis.benchmarks.benchmark --out results/benchmarks

clean: ## remove what was built
	rm -rf $(VENV) build dist results
