"""The presets of a task as a page: for ``lego presets``, and for the docs."""

from __future__ import annotations

import json

from tqdm import tqdm

from lego.card import shortcut_table
from lego.task import own_fields, task_class


def preset_page(name: str, rows: int) -> str:
    """Markdown: a table of all presets, then what each known shortcut reaches on each of them.

    ``rows``: examples of each split, of seed 0, of which the accuracies are counted. Raises
    SettingError for an unknown task.
    """
    kind = task_class(name)
    table, sections = [], []
    for preset, config in tqdm(kind.presets.items(), unit="preset", leave=False):
        task = kind(config, 0)
        fields = ", ".join(f"{k}={json.dumps(v)}" for k, v in own_fields(kind, config).items())
        table.append(f"| {preset} | {fields} | {task.size()} |\n")
        scores = shortcut_table(task, dict.fromkeys(task.splits, rows))
        sections.append(f"## {preset}\n\n{scores}")
    return (
        f"# Presets of {name}\n\nMade by `lego presets {name} --rows {rows}`.\n\n"
        f"| preset | fields that are not the default | how many, and how long |\n"
        f"| --- | --- | --- |\n{''.join(table)}\n{''.join(sections)}"
    )
