"""One pass of a model over a batch: its answers, and the loss that they are trained on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from einops import repeat

from lego.answers import Asked, Score, score
from lego.data import tensors
from lego.task import Batch, Task

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Answered(NamedTuple):
    """What a model made of a batch: tensors on its device, which nothing waits for."""

    asked: Asked
    loss: torch.Tensor  # of the model's own head, summed over the labels
    answers: torch.Tensor  # (labels,): the likeliest class or token

    def score(self) -> Score:
        return score(self.asked, self.loss, self.answers)


def forward(
    model: PreTrainedModel,
    task: Task,
    batch: Batch,
    asked: Asked,
    supervision: str = "off",
    readout: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> tuple[torch.Tensor, Answered]:
    """The loss to be minimised, summed over the labels, and what the model answered.

    The loss is the cross-entropy of the head, or with ``supervision`` the mean over its readings of
    several blocks' outputs: all, or the last half of them. ``readout`` gives those readings.
    """
    device = next(model.parameters()).device
    given = {name: t.to(device, non_blocking=True) for name, t in tensors(batch, task).items()}
    del given["labels"]  # the loss is a sum here, and a model's own is a mean
    deep = {} if supervision == "off" else {"output_hidden_states": True}
    output = model(**given, **deep)
    wanted = torch.from_numpy(asked.label).to(device, non_blocking=True)
    logits = asked.select(output.logits).float()  # (labels, classes)
    loss = F.cross_entropy(logits, wanted, reduction="sum")
    found = Answered(asked, loss.detach(), logits.detach().argmax(-1))
    if supervision == "off" or readout is None:
        return loss, found
    # hidden_states[k] is what block k gives, counted from 1; the last one the head has read.
    first = 1 if supervision == "all" else 1 + (len(output.hidden_states) - 1) // 2
    inner = [asked.select(hidden) for hidden in output.hidden_states[first:-1]]
    if inner:
        read = readout(torch.stack(inner)).float()  # (blocks, labels, classes)
        each = repeat(wanted, "labels -> (blocks labels)", blocks=len(inner))
        loss = loss + F.cross_entropy(read.flatten(0, 1), each, reduction="sum")
    return loss / (len(inner) + 1), found
