"""All probes of a model at once, as one JSON object: ``lego probe``."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lego.corpus import whole_file
from lego.data import Source, open_source
from lego.evaluate import measure
from lego.loading import load_model
from lego.probes.patterns import attention_maps, head_scores
from lego.task import choose, require

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def probe(
    model: PreTrainedModel, source: Source, split: str, rows: int, progress: bool = False
) -> dict[str, Any]:
    """Accuracy, head scores, and the attention over one sentence.

    ``heads``: one dict a head with the columns of ``head_scores``. ``uniform``: for each edge, its
    share of even attention.
    ``sentence``: ``tokens``; ``steps``, the chain position or trace step asked at each, or -1;
    ``shape``, (layers, heads, query, key); ``attention``, base64 of that many bytes, 255 for 1.
    """
    scores = head_scores(model, source, split, rows, progress=progress)
    names = [name.removesuffix("_even") for name in scores if name.endswith("_even")]
    names.remove("entropy")
    maps = attention_maps(model, source, split, row=0)
    sentence = source.take(split, 0, 1)
    ids = sentence["input_ids"][0]
    length = int((ids != source.task.pad_token_id).sum())
    maps = maps[:, :, :length, :length]
    return {
        "split": split,
        "rows": rows,
        **measure(model, source, split, 0, rows).summary(),
        "uniform": {name: round(float(scores[f"{name}_even"][0]), 4) for name in names},
        "heads": [
            {name: round(value, 4) if isinstance(value, float) else value for name, value in row}
            for row in (record.items() for record in scores.to_dict("records"))
        ],
        "sentence": {
            "tokens": source.task.tokenizer().convert_ids_to_tokens(ids[:length].tolist()),
            "steps": source.task.steps(sentence)[0, :length].tolist(),
            "shape": list(maps.shape),
            "attention": base64.b64encode(np.rint(maps * 255).astype(np.uint8).tobytes()).decode(),
        },
    }


def probe_to_file(
    folder: str,
    source_name: str,
    out: str,
    preset: str | None,
    rows: int,
    split: str,
    fields: Mapping[str, Any],
) -> None:
    """Probe a model on a corpus or a task and write JSON."""
    require(rows >= 2, "rows", rows, "2 or more")
    source = open_source(source_name, preset, fields)
    choose("split", split, source.splits)
    result = probe(load_model(folder, source.task), source, split, rows, progress=True)
    described: dict[str, Any] = {"model": folder, "source": source_name, "preset": preset}
    described |= {"fields": dict(fields)} if fields else {}
    with whole_file(Path(out)) as temporary:
        temporary.write_text(json.dumps(described | result) + "\n")
    for head in result["heads"]:
        print(
            f"layer {head['layer']} head {head['head']}: association {head['association']:.3f}, "
            f"local {head['local']:.3f}, {head['role']}"
        )
    uniform = result["uniform"]
    print(f"even attention: association {uniform['association']}, local {uniform['local']}")
