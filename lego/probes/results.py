"""What the probes find of one model, as plain JSON: the sections of ``probe.json``.

Each function below is a section. Numbers are rounded to 4 digits, NaN is null.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lego.data import Source
from lego.probes import ablate, patch, patterns, resolve, shortcuts
from lego.probes.circuit import circuit, smallest
from lego.probes.lens import logit_lens
from lego.task import Batch, SettingError, Task

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SENTENCES = 6  # as many are shown, as long as
SHOWN = 2**22  # their maps have no more weights than that, and one in any case
PASSED = 250  # rows of what takes a pass of the model for each head or site
GREEDY = 32  # heads; the circuit of a model with more goes by gradients


def sections(
    model: PreTrainedModel, source: Source, split: str, rows: int, progress: bool = False
) -> dict[str, Any]:
    """All that follows: a section for each name, and ``missing``, name -> why it is not there."""
    found: dict[str, Any] = {}
    missing: dict[str, str] = {}
    few = min(rows, PASSED) // 2 * 2
    calls = {
        "resolve": lambda: resolution(model, source, split, rows, progress),
        "lens": lambda: lens(model, source, split, rows, progress),
        "fingerprint": lambda: fingerprint(model, source, split, rows, progress),
        "ablation": lambda: ablation(model, source, split, few, progress),
        "patching": lambda: patching(model, source, few, progress),
        "circuit": lambda: faithful(model, source, split, few, progress),
    }
    for name, call in calls.items():
        try:
            found[name] = call()
        except SettingError as error:  # what this task or corpus cannot be asked
            missing[name] = str(error)
    return found | {"missing": missing}


def sentences(model: PreTrainedModel, source: Source, split: str) -> list[dict[str, Any]]:
    """The attention over the first sentences of a split.

    ``tokens``; ``steps``, the chain position or trace step asked at each, or -1; ``clauses``, the
    chain position of the clause that each is in, or -1; ``shape``, (layers, heads, query, key);
    ``attention``, base64 of that many bytes, 255 for 1.
    """
    tokenizer, task = source.task.tokenizer(), source.task
    found: list[dict[str, Any]] = []
    shown = 0
    for row in range(SENTENCES):
        batch = source.take(split, row, row + 1)
        ids = batch["input_ids"][0]
        length = int((ids != task.pad_token_id).sum())
        maps = patterns.attention_maps(model, source, split, row)[:, :, :length, :length]
        shown += maps.size
        if row and shown > SHOWN:
            break
        whole = np.rint(maps * 255).astype(np.uint8).tobytes()
        one = {
            "tokens": tokenizer.convert_ids_to_tokens(ids[:length].tolist()),
            "steps": task.steps(batch)[0, :length].tolist(),
            "clauses": clauses(task, batch)[0, :length].tolist(),
            "shape": list(maps.shape),
            "attention": base64.b64encode(whole).decode(),
        }
        found.append(one)
    return found


def clauses(task: Task, batch: Batch) -> np.ndarray:
    """(rows, length) int64: the chain position of the clause that each token is in, with the words
    up to the next clause; -1 before the first, and where the task's graph has no clauses."""
    graph, shape = task.graph(batch), batch["input_ids"].shape
    found = np.full(shape, -1)
    if not set(patch.PARTS) <= graph.keys():
        return found
    parts = np.stack([graph[part] for part in patch.PARTS])  # (parts, rows, n)
    first = np.where(parts < 0, shape[1], parts).min(axis=0)
    for row, starts in enumerate(first):
        for chain in np.argsort(starts, kind="stable"):
            found[row, starts[chain] :] = chain
    return found


def resolution(
    model: PreTrainedModel, source: Source, split: str, rows: int, progress: bool = False
) -> dict[str, Any]:
    """Of a ridge readout at the answer's token: ``accuracy`` and ``control``, by layer and
    position; ``resolved``, by position, null where no layer is enough."""
    found = resolve.resolve(model, source, split, rows, progress=progress)
    own = found.sel(offset=0)
    values = {name: _plain(own[name].values) for name in ("accuracy", "control", "resolved")}
    return values | {"method": found.attrs["method"], "rows": rows}


def lens(
    model: PreTrainedModel, source: Source, split: str, rows: int, progress: bool = False
) -> dict[str, Any]:
    """``accuracy`` and ``probability``, by layer and position, of the model's own head."""
    found = logit_lens(model, source, split, rows, progress)
    return {name: _plain(found[name].values) for name in ("accuracy", "probability")}


def fingerprint(
    model: PreTrainedModel, source: Source, split: str, rows: int, progress: bool = False
) -> dict[str, Any]:
    """``verdict``, and ``answerers``: the rows of ``lego.probes.shortcuts.fingerprint``."""
    found = shortcuts.fingerprint(model, source, split, rows, progress=progress)
    return {"verdict": shortcuts.verdict(found), "answerers": _rows(found.reset_index())}


def ablation(
    model: PreTrainedModel, source: Source, split: str, rows: int, progress: bool = False
) -> dict[str, Any]:
    """``heads`` (mean), ``layers`` and ``taps`` (zero), ``edges`` (knocked out in all layers): the
    rows of ``lego.probes.ablate``."""
    given = (model, source, split, rows)
    return {
        "rows": rows,
        "heads": _rows(ablate.ablate_heads(*given, progress=progress)),
        "layers": _rows(ablate.ablate_layers(*given, progress=progress)),
        "taps": _rows(ablate.ablate_taps(*given, progress=progress)),
        "edges": _rows(ablate.knock_out(*given, progress=progress)),
    }


def patching(
    model: PreTrainedModel, source: Source, rows: int, progress: bool = False
) -> dict[str, Any]:
    """``heads``, by layer, head and answer; ``stream``, by depth, part, distance and answer, and
    its ``parts``: the effects of ``lego.probes.patch``."""
    stream = patch.patch_stream(model, source, rows, progress=progress)
    heads = patch.patch_heads(model, source, rows, progress=progress)
    return {
        "rows": rows,
        "parts": stream.part.values.tolist(),
        "stream": _plain(stream.values),
        "heads": _plain(heads.values),
    }


def faithful(
    model: PreTrainedModel, source: Source, split: str, rows: int, progress: bool = False
) -> dict[str, Any]:
    """``curve``, the rows of ``lego.probes.circuit``, and ``smallest``, the heads of the smallest
    faithful circuit."""
    count = sum(ablate.head_counts(model, source, split))
    method = "greedy" if count <= GREEDY else "attribution"
    curve = circuit(model, source, split, rows, method, progress=progress)
    return {
        "rows": rows,
        "method": method,
        "curve": _rows(curve),
        "smallest": [list(head) for head in smallest(curve)],
    }


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    rounded = table.astype({name: object for name in table.columns})
    return [
        {name: _plain(value) if isinstance(value, float) else value for name, value in row.items()}
        for row in rounded.to_dict("records")
    ]


def _plain(values: Any) -> Any:
    """Nested lists of floats, or one float, with null for NaN."""
    if isinstance(values, np.ndarray):
        return [_plain(value) for value in values]
    return None if np.isnan(values) else round(float(values), 4)
