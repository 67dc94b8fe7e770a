"""Scores of all heads, against the same scores in plain torch on what other tools capture.

One model, a BERT of transformers with 12 layers of 12 heads, is captured by lego, by transformers'
``output_attentions=True`` and by TransformerLens' ``run_with_cache``; the two latter are scored
sentence for sentence as lego does it, and before the race all three are checked to agree.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from einops import einsum

import lego
from benchmarks.speed import Race, figure, race
from lego import zoo
from lego.data import Sampled
from lego.probes.edges import edges
from lego.probes.patterns import BATCH, REACH, SHUFFLED, head_scores
from lego.zoo.mimic import divergence, targets

LAYERS, HEADS, WIDTH = 12, 12, 48
ROWS = 2 * BATCH  # sentences of a round
SPLIT = "test"

Attentions = Callable[[torch.Tensor], Sequence[torch.Tensor]]


@dataclass(frozen=True)
class Probed:
    """The race, and what each contestant took of memory at its peak, in bytes above its start."""

    race: Race
    peaks: dict[str, int]

    def table(self) -> str:
        first = next(iter(self.peaks.values()))
        lines = [self.race.table(), "", "| | peak memory, MB | ours = 1 |", "| --- | ---: | ---: |"]
        for name, peak in self.peaks.items():
            lines.append(f"| {name} | {figure(peak / 1e6)} | {figure(peak / first)} |")
        return "\n".join(lines)


@torch.no_grad()
def measure() -> Probed:
    """Sentences of z2-n12, one thread, with the same number of sentences to a batch."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    task = lego.load_task("chains", preset="z2-n12")
    size: dict[str, Any] = {"num_hidden_layers": LAYERS, "num_attention_heads": HEADS}
    model = zoo.build(
        "hf-bert-nano", task, hidden_size=WIDTH, intermediate_size=4 * WIDTH, **size
    ).eval()
    source = Sampled(task)

    def eager(ids: torch.Tensor) -> Sequence[torch.Tensor]:
        model.set_attn_implementation("eager")
        attentions = model(input_ids=ids, output_attentions=True).attentions
        model.set_attn_implementation("sdpa")
        return attentions

    others = {"transformers, output_attentions=True": eager} | _lens(model, task)
    ours = head_scores(model, source, SPLIT, ROWS)
    for name, attentions in others.items():
        for column, found in plain_scores(attentions, source, ROWS).items():
            np.testing.assert_allclose(found, ours[column], rtol=1e-3, atol=1e-5, err_msg=name)

    def portion(attentions: Attentions) -> Callable[[], int]:
        return lambda: len(plain_scores(attentions, source, ROWS)) and ROWS

    contestants: dict[str, Callable[[], int]] = {
        "lego": lambda: len(head_scores(model, source, SPLIT, ROWS)) and ROWS
    }
    contestants |= {name: portion(attentions) for name, attentions in others.items()}
    peaks = {name: _peak(contestant) for name, contestant in contestants.items()}
    return Probed(race("sentences", contestants, rounds=5), peaks)


def _lens(model: Any, task: Any) -> dict[str, Attentions]:
    """TransformerLens on the same weights, or nothing, with a word on how to have it."""
    try:
        from transformer_lens import TransformerBridge
    except ImportError:
        print("without TransformerLens: pip install 'lego-reasoning[bench]'", file=sys.stderr)
        return {}
    from transformers import AutoTokenizer, BertForMaskedLM

    masked = BertForMaskedLM._from_config(
        deepcopy(model.config), attn_implementation="eager"
    ).eval()
    masked.bert.load_state_dict(model.bert.state_dict(), strict=False)
    with TemporaryDirectory() as folder:  # it reads a tokenizer anew from where it came
        task.tokenizer().save_pretrained(folder)
        bridge = TransformerBridge.boot_transformers(
            "google-bert/bert-base-uncased",
            hf_model=masked,
            tokenizer=AutoTokenizer.from_pretrained(folder),
            device="cpu",
        )
    names = [f"blocks.{layer}.attn.hook_pattern" for layer in range(LAYERS)]

    def cached(ids: torch.Tensor) -> Sequence[torch.Tensor]:
        cache = bridge.run_with_cache(ids)[1]
        return [cache[name] for name in names]

    return {"TransformerLens, run_with_cache": cached}


def plain_scores(attentions: Attentions, source: Sampled, rows: int) -> dict[str, np.ndarray]:
    """What ``head_scores`` gives but for intervals, (layers * heads,) each: an einsum an edge."""
    sums: dict[str, torch.Tensor] = {}
    for start in range(0, rows, BATCH):
        batch = source.take(SPLIT, start, min(start + BATCH, rows))
        ids = torch.from_numpy(batch["input_ids"].astype(np.int64))
        found = {name: torch.tensor(mask) for name, mask in edges(source.task, batch).items()}
        found["local"] = found["local"] | found["self"]
        turn = int(np.random.default_rng([0, start]).integers(1, len(ids)))
        found |= {f"{name}_chance": found[name].roll(turn, 0) for name in SHUFFLED}
        masks = {
            name: mask.float() / mask.any(2).sum(1)[:, None, None] for name, mask in found.items()
        }
        association, local, visible = targets(ids, None, causal=False)
        for layer, weights in enumerate(attentions(ids)):
            scores = {
                name: einsum(weights, mask, "b h q k, b q k -> h") for name, mask in masks.items()
            }
            scores["entropy"] = -torch.special.xlogy(weights, weights).sum(-1).mean(-1).sum(0)
            for name, pattern in (("association", association), ("local", local)):
                each = [divergence(head, pattern, visible, None) for head in weights.unbind(1)]
                scores[f"{name}_divergence"] = torch.stack(each) * len(ids)
            for at in range(-REACH, REACH + 1):
                diagonal = weights.diagonal(at, -2, -1).sum((0, 2)) / weights.shape[-1]
                scores[f"offset_{at}"] = diagonal
            for name, score in scores.items():
                table = sums.setdefault(name, torch.zeros(LAYERS, HEADS))
                table[layer] += score / rows
    return {name: table.flatten().numpy() for name, table in sums.items()}


def _peak(portion: Callable[[], int]) -> int:
    """Bytes that a portion takes at most above what is there before it, in a process of its own."""
    reading, writing = os.pipe()
    ctypes.CDLL(None).malloc_trim(0)  # what was freed, and kept, would not be counted again
    child = os.fork()
    if child == 0:
        before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
        portion()
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        os.write(writing, str(most - before).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with os.fdopen(reading) as told:
        return int(told.read())
