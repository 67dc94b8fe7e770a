"""All probes of a model at once, as one JSON object: ``lego probe``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lego.corpus import whole_file
from lego.data import Source, explained, open_source
from lego.evaluate import measure
from lego.loading import load_body, load_model
from lego.probes.patterns import head_scores
from lego.probes.plain import plain, records
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
    headless: bool = False,
) -> dict[str, Any]:
    """Accuracy, head scores, the attention over some sentences, and the sections of
    ``lego.probes.results``, which take most of the time: ``brief`` leaves them out.

    ``heads``: one dict a head with the columns of ``head_scores``. ``uniform``: for each edge, its
    share of even attention. ``sentences``: those of ``lego.probes.sentences``. ``missing``: why a
    section is not there, by its name. ``headless``: the model's answers mean nothing, so that no
    accuracy is there, nor any section that is measured by them.
    """
    source = explained(source)
    scores = head_scores(model, source, split, rows, progress=progress)
    names = [name.removesuffix("_even") for name in scores if name.endswith("_even")]
    names.remove("entropy")
    found = {
        "split": split,
        "rows": rows,
        **({} if headless else measure(model, source, split, 0, rows).summary()),
        "uniform": {name: plain(scores[f"{name}_even"][0]) for name in names},
        "heads": records(scores),
        "sentences": sentences(model, source, split),
    }
    if brief:
        return found
    if not all(map(find_spec, EXTRA)):
        why = "needs pip install 'lego-reasoning[probes]'"
        return found | {"missing": dict.fromkeys(SECTIONS, why)}
    from lego.probes.results import sections

    return found | sections(model, source, split, rows, progress, headless)


def probe_to_file(
    folder: str,
    source_name: str,
    out: str,
    preset: str | None,
    rows: int,
    split: str,
    fields: Mapping[str, Any],
    brief: bool = False,
) -> None:
    """Probe a model on a corpus or a task and write JSON: ``lego probe``.

    A checkpoint of the BERT family with other words and no head for the task is probed without one.
    """
    require(rows >= 2, "rows", rows, "2 or more")
    source = open_source(source_name, preset, fields)
    choose("split", split, source.splits)
    body = load_body(folder, source.task)
    model = load_model(folder, source.task) if body is None else body
    result = probe(model, source, split, rows, brief, True, headless=body is not None)
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
