"""What the probes find of one model, as plain JSON: the sections of ``probe.json``.

Each function below is a section. Numbers are those of ``lego.probes.plain``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lego.data import Source
from lego.probes import ablate, patch, resolve, shortcuts
from lego.probes.capture import blocks
from lego.probes.circuit import circuit, smallest
from lego.probes.lens import logit_lens
from lego.probes.plain import plain, records
from lego.task import SettingError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Of what takes a pass of the model for each head or site: rows, and the least of them for a model
# that is so large that they would take more than so many operations, half a minute of a core.
PASSED, FEWEST = 250, 32
OPERATIONS = 2e12
HEADLESS = (
    "its checkpoint has no head for this task: a run can start from it (init: pretrained:...)"
)
GREEDY = 12  # heads; the circuit of a model with more goes by gradients


def sections(
    model: PreTrainedModel,
    source: Source,
    split: str,
    rows: int,
    progress: bool = False,
    headless: bool = False,
) -> dict[str, Any]:
    """All that follows: a section for each name, and ``missing``, name -> why it is not there.

    ``headless``: the model's answers mean nothing, and what is measured by them is missing.
    """
    found: dict[str, Any] = {}
    missing: dict[str, str] = {}
    few = passed(model, source, split, rows)
    calls = {
        "resolve": lambda: resolution(model, source, split, rows, progress),
        "lens": lambda: lens(model, source, split, rows, progress),
        "fingerprint": lambda: fingerprint(model, source, split, rows, progress),
        "ablation": lambda: ablation(model, source, split, few, progress),
        "patching": lambda: patching(model, source, few, progress),
        "circuit": lambda: faithful(model, source, split, few, progress),
    }
    for name, call in calls.items():
        if headless and name != "resolve":
            missing[name] = HEADLESS
            continue
        try:
            found[name] = call()
        except SettingError as error:  # what this task or corpus cannot be asked
            missing[name] = str(error)
    return found | {"missing": missing}


def passed(model: PreTrainedModel, source: Source, split: str, rows: int) -> int:
    """How many rows, an even number, are read once for each head: ``PASSED``, or less for a model
    with more to do, down to ``FEWEST``."""
    counts = ablate.head_counts(model, source, split)
    distinct = blocks(model)
    weights = sum(weight.numel() for block in distinct for weight in block.parameters())
    tokens = source.take(split, 0, 1)["input_ids"].shape[1]
    # A multiplication and an addition for each weight whenever it runs.
    operations = 2 * weights * len(counts) / len(distinct) * tokens * sum(counts)
    most = max(FEWEST, min(PASSED, int(OPERATIONS / operations)))
    return min(rows, most) // 2 * 2


def resolution(
    model: PreTrainedModel, source: Source, split: str, rows: int, progress: bool = False
) -> dict[str, Any]:
    """Of a ridge readout at the answer's token: ``accuracy`` and ``control``, by layer and
    position; ``resolved``, by position, null where no layer is enough."""
    found = resolve.resolve(model, source, split, rows, progress=progress)
    own = found.sel(offset=0)
    values = {name: plain(own[name].values) for name in ("accuracy", "control", "resolved")}
    return values | {"method": found.attrs["method"], "rows": rows}


def lens(
    model: PreTrainedModel, source: Source, split: str, rows: int, progress: bool = False
) -> dict[str, Any]:
    """``accuracy`` and ``probability``, by layer and position, of the model's own head."""
    found = logit_lens(model, source, split, rows, progress)
    return {name: plain(found[name].values) for name in ("accuracy", "probability")}


def fingerprint(
    model: PreTrainedModel, source: Source, split: str, rows: int, progress: bool = False
) -> dict[str, Any]:
    """``verdict``, and ``answerers``: the rows of ``lego.probes.shortcuts.fingerprint``."""
    found = shortcuts.fingerprint(model, source, split, rows, progress=progress)
    return {"verdict": shortcuts.verdict(found), "answerers": records(found.reset_index())}


def ablation(
    model: PreTrainedModel, source: Source, split: str, rows: int, progress: bool = False
) -> dict[str, Any]:
    """``heads`` (mean), ``layers`` and ``taps`` (zero), ``edges`` (knocked out in all layers): the
    rows of ``lego.probes.ablate``."""
    given = (model, source, split, rows)
    return {
        "rows": rows,
        "heads": records(ablate.ablate_heads(*given, progress=progress)),
        "layers": records(ablate.ablate_layers(*given, progress=progress)),
        "taps": records(ablate.ablate_taps(*given, progress=progress)),
        "edges": records(ablate.knock_out(*given, progress=progress)),
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
        "stream": plain(stream.values),
        "heads": plain(heads.values),
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
        "curve": records(curve),
        "smallest": [list(head) for head in smallest(curve)],
    }
