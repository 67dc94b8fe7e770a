"""The presets of a task as a table: for ``lego presets``, and for the docs."""

from __future__ import annotations

import json
from collections.abc import Iterator

from tqdm import tqdm

from lego.card import shortcut_table
from lego.task import own_fields, task_class


def preset_sections(name: str, rows: int) -> Iterator[str]:
    """Markdown, preset by preset: its fields, its size, and what each shortcut reaches.

    ``rows``: examples of each split of which the accuracies are counted. Raises SettingError for
    an unknown task.
    """
    kind = task_class(name)
    for preset, config in tqdm(kind.presets.items(), unit="preset", leave=False):
        task = kind(config, 0)
        fields = " ".join(f"{k}={json.dumps(v)}" for k, v in own_fields(kind, config).items())
        yield (
            f"## {preset}\n\n`{fields}`\n\n{task.size()}\n\n"
            f"{shortcut_table(task, dict.fromkeys(task.splits, rows))}"
        )
