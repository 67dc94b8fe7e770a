"""How a run learned: accuracy by chain position over its steps."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from lego.record import METRICS
from lego.task import choose, require


def accuracy_over_training(run: str | Path, split: str = "validation") -> pd.DataFrame:
    """Accuracy 0 to 1 from a run's metrics: indexed by ``step``, a column for each ``position``,
    chain position or trace step; NaN where nothing was asked.

    Raises SettingError for a folder without metrics, and for a split that was not measured.
    """
    path = Path(run, METRICS)
    require(path.is_file(), "run", str(run), f"a run's folder, with {METRICS}")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    choose("split", split, tuple(dict.fromkeys(line["split"] for line in lines)))
    # A run that was killed and went on may have told of a step twice.
    found = {
        line["step"]: line["accuracy_per_position"] for line in lines if line["split"] == split
    }
    table = pd.DataFrame.from_dict(found, orient="index", dtype=float)
    return table.rename_axis(index="step", columns="position").sort_index()
