"""The zoo's models for a task as a page: for ``lego models``, and for the docs."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from tqdm import tqdm

from lego.command import assignments
from lego.task import load_task
from lego.zoo import names, table


def model_page(name: str, preset: str | None = None, fields: Sequence[str] = ()) -> str:
    """Markdown: what each model that fits a task has and costs.

    ``fields``: words like "n=8". Raises SettingError for an unknown task, preset or field.
    """
    task = load_task(name, preset, **assignments(fields))
    tokens = task.sample("train", 0, 1)["input_ids"].shape[1]
    found = table.rows(task, tokens)
    rows = list(tqdm(found, total=len(names(task.head)), unit="model", leave=False))
    words = ["lego", "models", name, *(["--preset", preset] if preset else []), *fields]
    return (
        f"# Models for {name}\n\nMade by `{shlex.join(words)}`: the {task.head} models, on a "
        f"sentence of {tokens} tokens, as long as those of train.\n\n"
        "FLOPs are those of the way forward: two for each multiplication and addition in a "
        "product of matrices or a convolution; nothing else is counted. Heads are those of all "
        f"layers.\n\n{table.markdown(rows)}"
    )
