"""The dataset card of a corpus: what ``datasets`` reads, and what a person reads."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lego.task import NO_ANSWER, decode, own_fields, task_class

if TYPE_CHECKING:
    from lego.task import Task

GUESS_ROWS = 10_000  # rows of a split from which a shortcut's accuracy is counted
CERTIFICATE_BEGIN, CERTIFICATE_END = "<!-- certificate -->", "<!-- end of certificate -->"


def card(manifest: dict[str, Any], out: Path, certificate: dict[str, Any] | None = None) -> str:
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
        sections.append(_config_section(task, label, entry, sizes))

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
as sets: a hash of a row's own text, not its number, decides which split may hold it. \
`lego verify` derives every column anew.

```python
from datasets import load_dataset
rows = load_dataset("PATH/OF/THIS/FOLDER", "{first}", split="{split}")
```

{"".join(sections)}
{certificate_section(certificate)}
## Licence and citation

MIT. The task is from *Unveiling Transformers with LEGO: a synthetic reasoning task*, \
arXiv 2206.04301 (2022).
"""


def certificate_section(certificate: dict[str, Any] | None) -> str:
    """Markdown between two marks that says what was checked from outside; nothing if nothing was.

    ``certificate`` is what ``lego.corpus.read_certificate`` gives.
    """
    lines = [CERTIFICATE_BEGIN]
    if certificate is not None:
        lines += ["## Checked from outside", ""]
        lines += [
            f"As `certificate.json` says of the corpus with digest "
            f"`{certificate['digest'][:16]}` ({certificate['digest_of']}):"
        ]
        for check in certificate["checks"]:
            lines += ["", f"**{check['by']}**", ""]
            lines += [f"- {name}: {value}" for name, value in check["settings"].items()]
            heads = list(dict.fromkeys(head for part in check["splits"] for head in part))
            numbers = [isinstance(check["splits"][0].get(head), int) for head in heads]
            rule = "".join(" ---: |" if number else " --- |" for number in numbers)
            lines += ["", f"| {' | '.join(heads)} |", f"|{rule}"]
            for part in check["splits"]:
                cells = [part.get(head, "") for head in heads]
                words = [f"{cell:,}" if isinstance(cell, int) else cell for cell in cells]
                lines += [f"| {' | '.join(words)} |"]
    return "\n".join([*lines, CERTIFICATE_END, ""])


def with_certificate(text: str, certificate: dict[str, Any] | None) -> str:
    """A card with its section on what was checked replaced, or added at its end."""
    before, begin, rest = text.partition(CERTIFICATE_BEGIN)
    _, end, after = rest.partition(CERTIFICATE_END + "\n")
    section = certificate_section(certificate)
    return before + section + after if begin and end else f"{text}\n{section}"


def _command(manifest: dict[str, Any]) -> str:
    """One ``lego make`` that makes the shards anew, byte for byte."""
    kind = task_class(manifest["task"])
    words = ["lego", "make", manifest["task"], "OUT"]
    for label, entry in manifest["configs"].items():
        if label in kind.presets:
            words += ["--preset", label]
        else:
            own = own_fields(kind, decode(kind.Config, entry["fields"]))
            words += [f"{k}={v if isinstance(v, str) else json.dumps(v)}" for k, v in own.items()]
    words += ["--rows", ",".join(f"{split}={count}" for split, count in manifest["rows"].items())]
    words += ["--seed", str(manifest["seed"]), "--shard-rows", str(manifest["shard_rows"])]
    return shlex.join(words)


def _config_section(task: Task, label: str, entry: dict[str, Any], sizes: dict[str, int]) -> str:
    counts = {split: part["rows"] for split, part in entry["splits"].items()}
    lines = [f"## {label}\n\n{task.describe()}\n\n"]
    lines += ["| split | rows | MB | SHA-256 of its shards |\n| --- | ---: | ---: | --- |\n"]
    for split, part in entry["splits"].items():
        digest = hashlib.sha256("".join(s["sha256"] for s in part["shards"]).encode()).hexdigest()
        lines += [f"| {split} | {part['rows']:,} | {sizes[split] / 1e6:.1f} | `{digest[:16]}` |\n"]
    lines += ["\n| field | value |\n| --- | --- |\n"]
    lines += [f"| {field} | {json.dumps(value)} |\n" for field, value in entry["fields"].items()]
    lines += [f"| seed | {task.seed} |\n\n", shortcut_table(task, counts)]
    lines += ["A row of this config:\n\n```json\n"]
    row = task.table(task.sample(next(iter(counts)), 0, 1)).to_pylist()[0]
    ordered = {name: row[name] for name in task.features}
    lines += [",\n".join(f" {json.dumps(k)}: {json.dumps(v)}" for k, v in ordered.items())]
    return "".join([*lines, "\n```\n\n"])


def shortcut_scores(task: Task, split: str, rows: int) -> dict[str, list[float]]:
    """How often each shortcut is right, over all answers of a split's first rows.

    Where a row has several answers, a second number tells of its last one.
    """
    batch = task.sample(split, 0, rows)
    truth = task.answers(batch)
    asked = truth != NO_ANSWER
    scores = {}
    for name, answers in task.shortcuts(batch).items():
        right = (answers == truth) & asked
        scores[name] = [float(right.sum() / asked.sum())]
        if truth.ndim == 2:
            last = asked.sum(axis=1) - 1
            scores[name].append(float(right[np.arange(len(right)), last].mean()))
    return scores


def shortcut_table(task: Task, counts: Mapping[str, int]) -> str:
    """Markdown: the accuracy of each shortcut on the first rows of each split."""
    found = {s: shortcut_scores(task, s, min(n, GUESS_ROWS)) for s, n in counts.items()}
    names = list(next(iter(found.values())))
    several = len(next(iter(found.values()))[names[0]]) > 1
    head = f"| shortcut | {' | '.join(counts)} |\n| --- |{' ---: |' * len(counts)}\n"
    body = ""
    for name in names:
        cells = [" / ".join(f"{score:.3f}" for score in found[s][name]) for s in counts]
        body += f"| {name} | {' | '.join(cells)} |\n"
    most = min(GUESS_ROWS, max(counts.values()))
    note = f"Accuracy of the known shortcuts, on up to {most:,} rows of each split"
    note += "; over all that is asked, and at the last variable of a row:" if several else ":"
    return f"{note}\n\n{head}{body}\n"
