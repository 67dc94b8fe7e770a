"""What updates the weights: AdamW, or Muon for the blocks' matrices and AdamW for the rest."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from lego.settings import Settings

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FUSED = ("cpu", "cuda")  # devices on which AdamW updates all weights in one kernel


def optimizers(
    model: PreTrainedModel, settings: Settings, device: torch.device
) -> list[torch.optim.Optimizer]:
    """The optimizers of a run, AdamW first; every trainable parameter is in one of them."""
    parameters = {id(p): p for p in model.parameters() if p.requires_grad}
    matrices = block_matrices(model) if settings.optimizer == "muon" else []
    found: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(
            [p for key, p in parameters.items() if key not in set(map(id, matrices))],
            lr=settings.lr,
            betas=(settings.beta1, settings.beta2),
            weight_decay=settings.weight_decay,
            fused=device.type in FUSED,
        )
    ]
    if matrices:
        found.append(
            torch.optim.Muon(matrices, lr=settings.muon_lr, weight_decay=settings.weight_decay)
        )
    for optimizer in found:
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
    return found


def blocks(model: nn.Module) -> list[nn.Module]:
    """The blocks of a model: what its outermost lists of modules hold."""
    if isinstance(model, nn.ModuleList):
        return list(model)
    return [block for child in model.children() for block in blocks(child)]


def block_matrices(model: nn.Module) -> list[torch.Tensor]:
    """The weights of the linear maps inside the blocks: what Muon is for.

    Not among them: embeddings, heads, norms, biases, convolutions and tables of biases.
    """
    linear = [
        m for block in blocks(model) for m in block.modules() if isinstance(m, (nn.Linear, Conv1D))
    ]
    weights = {id(m.weight): m.weight for m in linear}
    return [weight for weight in weights.values() if weight.requires_grad]


def rate(settings: Settings, step: int) -> float:
    """The learning rate's factor at a step, counted from 0."""
    warmup, steps = settings.warmup, settings.steps
    if step < warmup:
        return (step + 1) / warmup
    left = (steps - step) / max(steps - warmup, 1)
    cosine = 0.5 * (1 - math.cos(math.pi * left))
    return {"constant": 1.0, "linear": left, "cosine": cosine}[settings.schedule]
