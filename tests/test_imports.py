"""Who may import whom, and what an import may cost."""

import ast
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# From the bottom up; a module may import those above it in this list, and those on its own line.
LAYERS = [
    ["lego.counter", "lego"],
    ["lego.task"],
    ["lego.command", "lego.group_table", "lego.groups"],
    ["lego.columns", "lego.text"],
    ["lego.chain_form"],
    ["lego.chain_config"],
    ["lego.chain_plan", "lego.chain_kernel", "lego.chain_graph"],
    ["lego.chain_sampler"],
    ["lego.chains", "lego.chain_oracle", "lego.chain_card"],
    ["lego.engine"],
    ["lego.corpus", "lego.card"],
    ["lego.verify", "lego.push", "lego.presets"],
    ["lego.data"],
    ["lego.zoo"],
    ["lego.models"],
    ["lego.answers"],
    ["lego.forward", "lego.loading"],
    ["lego.evaluate"],
    ["lego.settings"],
    ["lego.curriculum", "lego.optimizer", "lego.checkpoint", "lego.record"],
    ["lego.compiling"],
    ["lego.trainer"],
    ["lego.train"],
    ["lego.grid", "lego.workers"],
    ["lego.sweep"],
    ["lego.probes"],
    ["lego.report"],
    ["lego.cli"],
]


def imports(path):
    """The lego, cexec and benchmarks modules that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                inside = ROOT / node.module.replace(".", "/") / f"{alias.name}.py"
                package = ROOT / node.module.replace(".", "/") / alias.name / "__init__.py"
                whole = f"{node.module}.{alias.name}"
                yield whole if inside.exists() or package.exists() else node.module


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def layer(module):
    """The place in LAYERS of a module, or of the package that it is part of."""
    for name in (module, ".".join(module.split(".")[:2])):
        for place, names in enumerate(LAYERS):
            if name in names:
                return place
    raise AssertionError(f"{module} has no layer: give it one in LAYERS")


SOURCES = sorted(p for name in ("lego", "cexec") for p in (ROOT / name).rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_imports_go_one_way(path):
    module = module_name(path)
    for name in imports(path):
        top = name.split(".")[0]
        assert top != "benchmarks", f"{module} imports {name}"
        if top == "cexec":
            assert module.startswith("cexec"), f"{module} names {name}"
        if top == "lego" and module.startswith("lego.") and module != "lego":
            assert layer(name) <= layer(module), f"{module} imports {name}, a higher layer"
        if top == "lego" and module.startswith("cexec"):
            below = layer("lego.chains")
            allowed = layer(name) < below or name == "lego.corpus"
            assert allowed, f"{module} imports {name}"
        if module.startswith("lego.zoo"):
            assert not name.startswith("lego") or name.startswith("lego.zoo"), name
        if module.startswith("lego.probes"):
            assert not name.startswith("lego.train"), f"{module} imports {name}"


def test_nothing_in_lego_names_cexec():
    for path in (ROOT / "lego").rglob("*"):
        if path.suffix in (".py", ".html"):
            assert "cexec" not in path.read_text(), path


def loaded_by(statement):
    code = f"import sys; {statement}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(run.stdout.split())


def test_import_lego_loads_neither_torch_nor_transformers():
    heavy = {"torch", "transformers", "datasets", "accelerate", "numba", "pyarrow"}
    assert not loaded_by("import lego; dir(lego)") & heavy
    assert not loaded_by("import cexec") & heavy


def test_making_sentences_loads_neither_torch_nor_transformers():
    used = "import lego; t = lego.load_task('chains'); t.table(t.sample('train', 0, 9))"
    assert not loaded_by(used) & {"torch", "transformers"}


def test_tasks_are_found_by_their_entry_points():
    found = {entry.name: entry.value for entry in entry_points(group="lego.tasks")}
    assert found["chains"] == "lego.chains:ChainTask"
    assert found["cexec"] == "cexec.task:CexecTask"
