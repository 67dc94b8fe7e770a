"""The attention over one sentence, with its words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from lego.data import Source
from lego.probes.patterns import attention_maps
from lego.probes.sentences import clauses

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def attention(model: PreTrainedModel, source: Source, split: str, row: int) -> xr.DataArray:
    """Who looks at whom in one sentence: (layer, head, query, key) float32, rows that sum to 1.

    ``query`` and ``key`` are places in the sentence, padding left out; ``query_token`` and
    ``key_token`` are the words there, ``query_clause`` and ``key_clause`` the chain positions of
    their clauses, -1 for none. A tied block is a layer each time it runs.
    """
    batch = source.take(split, row, row + 1)
    ids = batch["input_ids"][0]
    length = int((ids != source.task.pad_token_id).sum())
    words = source.task.tokenizer().convert_ids_to_tokens(ids[:length].tolist())
    chain = clauses(source.task, batch)[0, :length]
    weights = attention_maps(model, source, split, row)[:, :, :length, :length]
    dims = ("layer", "head", "query", "key")
    coords = {dim: (dim, np.arange(size)) for dim, size in zip(dims, weights.shape, strict=True)}
    for dim in ("query", "key"):
        coords |= {f"{dim}_token": (dim, np.array(words)), f"{dim}_clause": (dim, chain)}
    return xr.DataArray(weights, coords, dims, "attention", {"split": split, "row": row})


def in_chain_order(weights: xr.DataArray) -> xr.DataArray:
    """The same, with the clauses in the order of the chain and what is of no clause at the end."""
    found = weights
    for dim in ("query", "key"):
        chain = found[f"{dim}_clause"].values
        found = found.isel({dim: np.argsort(np.where(chain < 0, len(chain), chain), kind="stable")})
    return found
