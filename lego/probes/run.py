"""All probes of a model at once, as one JSON object: ``lego probe``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lego.corpus import whole_file
from lego.data import Source, open_source
from lego.evaluate import measure
from lego.loading import load_model
from lego.probes.patterns import head_scores
from lego.probes.sentences import sentences
from lego.task import choose, require

if TYPE_CHECKING:
    from transformers import PreTrainedModel

EXTRA = ("sklearn", "xarray")  # what the sections below are measured with
SECTIONS = ("resolve", "lens", "fingerprint", "ablation", "patching", "circuit")


def probe(
    model: PreTrainedModel,
    source: Source,
    split: str,
    rows: int,
    brief: bool = False,
    progress: bool = False,
) -> dict[str, Any]:
    """Accuracy, head scores, the attention over some sentences, and the sections of
    ``lego.probes.results``, which take most of the time: ``brief`` leaves them out.

    ``heads``: one dict a head with ``layer``, ``head``, ``association``, ``local``, ``role``.
    """
    scores = head_scores(model, source, split, rows)
    layers, heads = scores.association.shape
    found = {
        "split": split,
        "rows": rows,
        **measure(model, source, split, 0, rows).summary(),
        "uniform": {kind: round(share, 4) for kind, share in scores.uniform.items()},
        "heads": [
            {
                "layer": layer,
                "head": head,
                "association": round(float(scores.association[layer, head]), 4),
                "local": round(float(scores.local[layer, head]), 4),
                "role": scores.role(layer, head),
            }
            for layer in range(layers)
            for head in range(heads)
        ],
        "sentences": sentences(model, source, split),
    }
    if brief:
        return found
    if not all(map(find_spec, EXTRA)):
        why = "needs pip install 'lego-reasoning[probes]'"
        return found | {"missing": dict.fromkeys(SECTIONS, why)}
    from lego.probes.results import sections

    return found | sections(model, source, split, rows, progress)


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
    require(rows >= 1, "rows", rows, "1 or more")
    source = open_source(source_name, preset, fields)
    choose("split", split, source.splits)
    model = load_model(folder, source.task)
    result = probe(model, source, split, rows, progress=True)
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
    print(f"uniform attention: association {uniform['association']}, local {uniform['local']}")
