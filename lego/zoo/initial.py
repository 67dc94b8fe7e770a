"""How a model's weights start: as its architecture has them, or with a structure put into them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from lego.zoo.block import Attention
from lego.zoo.configuration import require
from lego.zoo.mimic import mimic
from lego.zoo.pretrained import pretrain

# An associative query and key start this much longer, which sharpens the first lookups: of 1, 1.5,
# 2 and 3, on one seed of z2-n6, 2 had the third variable of the chain soonest.
ASSOCIATION_GAIN = 2.0


def initialise(
    model: PreTrainedModel,
    init: str,
    vocabulary: Sequence[str] = (),
    batches: Iterable[torch.Tensor] | None = None,
) -> None:
    """Give a model of random weights its initial ones, in place.

    ``init`` is one of
        "random": as they are;
        "associative": equal query and key maps, so that equal tokens attend to each other;
        "mimic": two heads of every layer are first trained to be an association and a local head,
            on ``batches``, tensors of token ids (batch, tokens); see ``mimic`` for its settings;
        "pretrained:<folder or hub name>": the weights of a checkpoint of the BERT family, with
            embeddings for ``vocabulary``, the words of the model's ids; see ``pretrain``;
        "shuffled:<folder or hub name>": those weights, permuted within each matrix.
    All draws are from torch's global generator. Raises ValueError for anything else, and where
    the model is not of a kind or shape that it can be done to.
    """
    name, _, source = init.partition(":")
    known = init in ("random", "associative", "mimic")
    known = known or (name in ("pretrained", "shuffled") and source != "")
    forms = "random, associative, mimic, (pretrained|shuffled):<folder or hub name>"
    require(known, "init", init, forms)
    if init == "associative":
        associate(model)
    elif init == "mimic":
        require(batches is not None, "batches", batches, "tensors of token ids, for init=mimic")
        assert batches is not None
        mimic(model, batches)
    elif source:
        pretrain(model, source, vocabulary, shuffled=name == "shuffled")


@torch.no_grad()
def associate(model: PreTrainedModel) -> None:
    """Queries and keys start as the same map, so that equal tokens attend to each other.

    It is the association head of LEGO (arXiv 2206.04301) at the start of training. Stock models
    have it too. Raises ValueError for a model without queries, or with fewer keys than queries.
    """
    pairs = [pair for module in model.modules() if (pair := _query_and_key(module)) is not None]
    fits = [query.shape == key.shape and query.numel() > 0 for query, key in pairs]
    allowed = f"others for {type(model).__name__}: not each of its queries has a key of its own"
    require(any(fits) and all(fits), "init", "associative", allowed)
    for query, key in pairs:
        query *= ASSOCIATION_GAIN
        key.copy_(query)


def _query_and_key(module: nn.Module) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Views of the matrices (out, in) of an attention module of the zoo or of a stock model."""
    if isinstance(module, Attention):
        query, key, _ = module.qkv.weight.split(module.widths)
        return query, key
    for apart in (("query", "key"), ("q_proj", "k_proj")):  # Bert and Albert; Llama
        found = [getattr(module, name, None) for name in apart]
        query, key = (child.weight if isinstance(child, nn.Linear) else None for child in found)
        if query is not None and key is not None:
            return query, key
    packed = getattr(module, "Wqkv", None)  # ModernBert
    if isinstance(packed, nn.Linear):
        query, key, _ = packed.weight.chunk(3)
        return query, key
    packed = getattr(module, "c_attn", None)  # GPT-2: (in, out)
    if isinstance(packed, Conv1D):
        query, key, _ = packed.weight.T.chunk(3)
        return query, key
    return None
