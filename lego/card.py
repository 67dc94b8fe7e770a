"""The dataset card of a corpus: what ``datasets`` reads, and what a person reads."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lego.task import Task

GUESS_ROWS = 10_000  # rows of a split from which a shortcut's accuracy is counted


def card(manifest: dict[str, Any], out: Path) -> str:
    """The text of README.md for a corpus whose shards are all written."""
    from datasets import DatasetInfo, SplitInfo
    from datasets.info import DatasetInfosDict
    from huggingface_hub import DatasetCardData

    from lego.corpus import corpus_task

    infos, configs, sections = {}, [], []
    for label, entry in manifest["configs"].items():
        task = corpus_task(manifest, label)
        sizes = {
            split: sum((out / shard["file"]).stat().st_size for shard in part["shards"])
            for split, part in entry["splits"].items()
        }
        memory = {
            split: sum(shard["bytes"] for shard in part["shards"])
            for split, part in entry["splits"].items()
        }
        counts = {split: part["rows"] for split, part in entry["splits"].items()}
        infos[label] = DatasetInfo(
            features=task.features,
            config_name=label,
            splits={
                split: dataclasses.asdict(SplitInfo(split, memory[split], count))
                for split, count in counts.items()
            },
            download_size=sum(sizes.values()),
            dataset_size=sum(memory.values()),
        )
        files = [{"split": split, "path": f"{label}/{split}-*.parquet"} for split in counts]
        configs.append({"config_name": label, "data_files": files})
        sections.append(_config_section(task, label, counts, sizes))

    data = DatasetCardData(
        license="mit",
        pretty_name=f"lego {manifest['task']}",
        language=["en"],
        tags=["reasoning", "synthetic", "LEGO"],
        configs=configs,
    )
    DatasetInfosDict(infos).to_dataset_card_data(data)
    first = next(iter(manifest["configs"]))
    split = next(iter(manifest["configs"][first]["splits"]))
    return f"""---
{data.to_yaml()}
---
# {manifest["task"]}

Made by lego {manifest["version"]} (lego-reasoning) with

```
{_command(manifest)}
```

Row i of a split is a pure function of the config, the seed, the split and i. Splits are disjoint \
as sets: a hash of a row's tokens decides which split may hold it. `lego verify` derives every \
answer anew from the text.

```python
from datasets import load_dataset
rows = load_dataset("PATH/OF/THIS/FOLDER", "{first}", split="{split}")
```

{"".join(sections)}
## Licence and citation

MIT. The task is from *Unveiling Transformers with LEGO: a synthetic reasoning task*, \
arXiv 2206.04301 (2022).
"""


def _command(manifest: dict[str, Any]) -> str:
    """One ``lego make`` that makes the shards anew, byte for byte."""
    from lego.task import config_name, task_class

    kind = task_class(manifest["task"])
    parts = ["lego make", manifest["task"], "OUT"]
    for entry in manifest["configs"].values():
        label = config_name(kind, kind.Config(**entry["fields"]))
        parts += [f"--preset {label}"] if label in kind.presets else label.split(",")
    rows = ",".join(f"{split}={part['rows']}" for split, part in entry["splits"].items())
    parts += [
        f"--rows {rows}",
        f"--seed {manifest['seed']}",
        f"--shard-rows {manifest['shard_rows']}",
    ]
    return " ".join(part for part in parts if part != "default")


def _config_section(task: Task, label: str, counts: dict[str, int], sizes: dict[str, int]) -> str:
    lines = [f"## {label}\n\n{task.describe()}\n\n"]
    lines += ["| split | rows | MB |\n| --- | ---: | ---: |\n"]
    lines += [f"| {s} | {n:,} | {sizes[s] / 1e6:.1f} |\n" for s, n in counts.items()]
    lines += ["\n| field | value |\n| --- | --- |\n"]
    lines += [
        f"| {field} | {value} |\n" for field, value in dataclasses.asdict(task.config).items()
    ]
    lines += [f"| seed | {task.seed} |\n\n", _shortcut_table(task, counts)]
    lines += ["A row of this config:\n\n```json\n"]
    split = next(iter(counts))
    row = task.table(task.sample(split, 0, 1)).to_pylist()[0]
    ordered = {name: row[name] for name in task.features}
    lines += [",\n".join(f" {json.dumps(k)}: {json.dumps(v)}" for k, v in ordered.items())]
    return "".join([*lines, "\n```\n\n"])


def _shortcut_table(task: Task, counts: dict[str, int]) -> str:
    """How often each shortcut is right, over all answers of a split's first rows."""
    import numpy as np

    scores: dict[str, list[str]] = {}
    for split, count in counts.items():
        batch = task.sample(split, 0, min(count, GUESS_ROWS))
        for name, answers in task.shortcuts(batch).items():
            right = np.mean(answers == task.answers(batch))
            scores.setdefault(name, []).append(f"{right:.3f}")
    head = f"| shortcut | {' | '.join(counts)} |\n| --- |{' ---: |' * len(counts)}\n"
    body = "".join(f"| {name} | {' | '.join(cells)} |\n" for name, cells in scores.items())
    note = f"Accuracy of the known shortcuts, on up to {GUESS_ROWS:,} rows of each split:\n\n"
    return f"{note}{head}{body}\n"
