"""The notebooks run from the checkpoints beside them, and what they say of these holds."""

import json
import os
import shutil
from pathlib import Path

import nbclient
import nbformat
import pytest

import lego
from lego.loading import load_model
from lego.settings import read_settings

FOLDER = Path(__file__).parents[1] / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
CHECKPOINTS = sorted(path.parent for path in FOLDER.glob("models/*/config.yaml"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
# Asyncio's loop and zmq's sockets are closed by the garbage collector, which is nbclient's affair.
@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
def test_a_notebook_runs_and_what_it_asserts_holds(path, tmp_path, monkeypatch):
    work = tmp_path / "notebooks"
    shutil.copytree(FOLDER, work)
    found = str(FOLDER.parents[1])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([found, os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(work / path.name, as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(work)}}
    )
    client.execute()  # raises CellExecutionError, with the traceback, for the first cell that fails
    figures = [cell for cell in notebook.cells if "image/png" in json.dumps(cell)]
    assert len(figures) >= 3


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_ships_executed_and_small(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert path.stat().st_size < 400_000
    assert any(
        line.strip().startswith("assert") for cell in cells for line in cell.source.split("\n")
    )


@pytest.mark.parametrize("folder", CHECKPOINTS, ids=lambda path: path.name)
def test_a_checkpoint_is_small_and_loads_for_the_task_of_its_run(folder):
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 2_000_000
    settings = read_settings(folder / "config.yaml", {})
    task = lego.load_task(settings.task, settings.preset, **settings.fields)
    model = load_model(str(folder / "model"), task)
    for name, value in settings.model_fields.items():
        assert getattr(model.config, name) == value


def test_every_notebook_and_checkpoint_is_told_of():
    page = (FOLDER / "README.md").read_text()
    told = "".join(path.read_text() for path in NOTEBOOKS)
    for path in NOTEBOOKS:
        assert f"({path.name})" in page
    for folder in CHECKPOINTS:
        assert f"`{folder.name}`" in page and folder.name in told
