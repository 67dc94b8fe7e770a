"""The logit lens: what a model's own head makes of the stream between the blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import xarray as xr
from torch import nn
from tqdm import tqdm

from lego.answers import asked
from lego.data import Source, tensors

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BATCH = 250


@torch.no_grad()
def logit_lens(
    model: PreTrainedModel, source: Source, split: str, rows: int, progress: bool = False
) -> xr.Dataset:
    """How the model would answer if it stopped after each block (nostalgebraist, 2020).

    ``accuracy`` and ``probability``, the mean that the truth is given: (layer, position) float64,
    NaN where nothing is asked. Layer 0 is the embedding, the last one is the model itself; a tied
    block is a layer each time it runs. ``position``: chain position or trace step.
    """
    model.eval()
    device = next(model.parameters()).device
    sums = np.zeros((3, 0, 0))  # asked, right, probability: (3, layers, positions)
    for start in tqdm(range(0, rows, BATCH), disable=not progress, desc="lens", unit="batch"):
        batch = source.take(split, start, min(start + BATCH, rows))
        wanted = asked(source.task, batch)
        given = {n: t.to(device) for n, t in tensors(batch, source.task).items() if n != "labels"}
        read = readings(model, given, wanted.select).float()  # (layers, labels, classes)
        label = torch.from_numpy(wanted.label).to(device)
        right = (read.argmax(-1) == label).double()
        sure = read.softmax(-1)[:, torch.arange(len(label)), label].double()
        counted = wanted.step >= 0
        each = torch.stack([torch.ones_like(right), right, sure]).cpu().numpy()[..., counted]
        width = max(sums.shape[2], int(wanted.step.max(initial=-1)) + 1)
        total = np.zeros((3, len(read), width))
        total[:, : sums.shape[1], : sums.shape[2]] = sums
        total += each @ np.eye(width)[wanted.step[counted]]
        sums = total
    with np.errstate(invalid="ignore"):
        accuracy, probability = sums[1:] / sums[0]
    dims = ("layer", "position")
    coords = {name: np.arange(size) for name, size in zip(dims, accuracy.shape, strict=True)}
    return xr.Dataset(
        {"accuracy": (dims, accuracy), "probability": (dims, probability)},
        coords,
        {"split": split, "rows": rows},
    )


def readings(
    model: PreTrainedModel,
    given: Mapping[str, torch.Tensor],
    select: Callable[[torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """(layers, labels, classes): the head's reading of the embedding and of each block's output.

    ``select`` takes (labels, channels) from (batch, tokens, channels). It is one pass of the model:
    between its base and whatever its class puts on top, the last hidden state is exchanged for
    those of all layers, each normalised as the last one is. What normalises that is found as the
    module outside of the blocks that gave it; post-norm models have none.
    """
    base = model.base_model
    blocks = {m for many in base.modules() if isinstance(many, nn.ModuleList) for m in many}
    inside = {part for block in blocks for part in block.modules()}
    gave: list[tuple[nn.Module, torch.Tensor]] = []

    def note(module: nn.Module, _: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor):
            gave.append((module, output))

    def exchange(_: nn.Module, __: Any, output: Any) -> Any:
        last = output.last_hidden_state
        here = last.data_ptr()  # GPT-2 gives a view
        norm = next((module for module, out in gave if out.data_ptr() == here), nn.Identity())
        inner = [norm(select(hidden)) for hidden in output.hidden_states[:-1]]
        output.last_hidden_state = torch.stack([*inner, select(last)])
        return output

    others = [part for part in base.modules() if part is not base and part not in inside]
    hooks = [part.register_forward_hook(note) for part in others]
    hooks.append(base.register_forward_hook(exchange))
    try:
        return model(**given, output_hidden_states=True).logits
    finally:
        for hook in hooks:
            hook.remove()
