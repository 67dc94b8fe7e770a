"""A training step of our BERT-like and ALBERT-like against transformers' BERT and ALBERT.

A step is the same on both sides: batch, weights at the start, loss, clipped gradient and fused
AdamW, in float32 and without dropout, on one thread. Both have the FLOPs of their matrix products,
three times those of the forward pass with attention written out, so that a ratio of rates is one
of times, and the rate of a product of large matrices says what share of the machine a step reaches.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel

import lego
from benchmarks.speed import Race, Tables, figure, race
from lego import zoo
from lego.compiling import compile_blocks
from lego.data import Sampled, tensors
from lego.zoo.pretrained import copy, translate

FAMILIES, WIDTHS = ("bert", "albert"), (64, 128, 256)
HEAD_SIZE, LAYERS, BATCH = 32, 4, 128
COMPILED, WIDEST = 128, max(WIDTHS)  # the widths of what is measured at one width
SQUARE = 2048  # rows of the matrices whose product is to be the machine's peak
ROUNDS = 5
Given = dict[str, torch.Tensor]
# What a process of its own holds before its steps and, at most, in them, in kB.
PEAK = """
from benchmarks.speed import train
def held(line):
    return int(open("/proc/self/status").read().split(line + ":")[1].split()[0])
given = train.batch()
step = train.step(train.model("{name}", {width}), given)
before = held("VmRSS")
for _ in range(3):
    step()
print(before, held("VmHWM"))
"""


def measure() -> Tables:
    """Steps on 128 sentences of z2-n12, 62 tokens, in models of four layers with heads of 32."""
    torch.set_num_threads(1)
    given, found, absent = batch(), {}, {}
    for family in FAMILIES:
        for width in WIDTHS:
            title, contestants = _against(family, width, given)
            found[title] = race("GFLOP", contestants, ROUNDS).table()
    found["What the parts of the zoo cost"] = _parts(given).table()
    for family in FAMILIES:
        title, contestants = _against(family, COMPILED, given, compiled=True)
        found[f"{title}, blocks compiled"] = race("GFLOP", contestants, ROUNDS).table()
    if Path("/proc/self/status").exists():
        found[f"Peak memory of steps, d = {WIDEST}"] = _memory()
    else:
        absent["peak memory"] = "read from /proc, which this system does not have"
    return Tables(found, absent)


def batch() -> Given:
    """Token ids and labels (BATCH, 62), int64."""
    task = lego.load_task("chains", preset="z2-n12")
    return tensors(Sampled(task).take("train", 0, BATCH), task)


def model(name: str, width: int, **fields: Any) -> PreTrainedModel:
    """A model of the zoo, or with ``hf-`` a stock one, of this width and the common shape."""
    task = lego.load_task("chains", preset="z2-n12")
    fields |= {"embedding_size": min(width, 128)} if "albert" in name else {}
    return zoo.build(
        f"{name}-mini",
        task,
        hidden_size=width,
        intermediate_size=4 * width,
        num_attention_heads=width // HEAD_SIZE,
        num_hidden_layers=LAYERS,
        **fields,
    ).train()


def step(model: PreTrainedModel, given: Given, gives: float = 1) -> Callable[[], float]:
    """One step of AdamW, which gives what it is told to."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def portion() -> float:
        model(**given).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return gives

    return portion


def _against(
    family: str, width: int, given: Given, compiled: bool = False
) -> tuple[str, dict[str, Callable[[], float]]]:
    """The title of a race, and its contestants: ours, theirs and the matrix product."""
    theirs = model(f"hf-{family}", width)
    ours = model(family, width)
    copy(ours.model, translate(theirs.base_model.state_dict(), family))
    ours.classifier.load_state_dict(theirs.classifier.state_dict())
    torch.testing.assert_close(ours(**given).loss, theirs(**given).loss)
    gflop = _gflop(ours, given)
    models = {family: ours, f"hf-{family}": theirs}
    if compiled:
        for each in models.values():
            compile_blocks(each, shapes=1)
    else:
        models[f"hf-{family}, eager attention"] = model(
            f"hf-{family}", width, attn_implementation="eager"
        )
    contestants = {name: step(each, given, gflop) for name, each in models.items()}
    contestants |= _products()
    return f"{family}, d = {width}: {figure(gflop)} GFLOP a step", contestants


def _gflop(model: PreTrainedModel, given: Given) -> float:
    """Of a step's matrix products; the way back has two for each of the way there."""
    chosen = model.config._attn_implementation
    model.set_attn_implementation("eager")  # what is fused is not counted
    with FlopCounterMode(display=False) as counter:
        model(**given)
    model.set_attn_implementation(chosen)
    return 3 * counter.get_total_flops() / 1e9


def _products() -> dict[str, Callable[[], float]]:
    """Products of large matrices, by the library that torch was built with, and by another."""
    a, b, product = torch.randn(3, SQUARE, SQUARE)

    def of(multiply: Callable[[], object]) -> Callable[[], float]:
        def portion() -> float:
            multiply()
            return 2 * SQUARE**3 / 1e9

        return portion

    return {
        "limit: torch.mm": of(lambda: torch.mm(a, b, out=product)),
        "limit: numpy.matmul": of(lambda: np.matmul(a.numpy(), b.numpy(), out=product.numpy())),
    }


def _parts(given: Given) -> Race:
    """What the convolution adds to a step, and hard-coded heads take from it."""
    kinds: dict[str, dict[str, Any]] = {
        "": {},
        ", convolution of 7 taps on q, k and v": {"conv_kernel": 7},
        ", association and local heads": {"head_kinds": ["association", "local"]},
    }
    contestants = {}
    for width in WIDTHS[:2]:
        for kind, fields in kinds.items():
            made = model("albert", width, **fields)
            name = f"albert, d = {width}{kind} ({figure(_gflop(made, given))} GFLOP)"
            contestants[name] = step(made, given)
    return race("steps", contestants, ROUNDS)


def _memory() -> str:
    """What a process of its own holds: as it is before its steps, and at most."""
    lines = ["| | MB before | MB at most | more |", "| --- | ---: | ---: | ---: |"]
    for family in FAMILIES:
        for name in (family, f"hf-{family}"):
            script = PEAK.format(name=name, width=WIDEST)
            run = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
            before, most = (int(kilobytes) // 1024 for kilobytes in run.stdout.split())
            lines.append(f"| {name} | {before:,} | {most:,} | {most - before:,} |")
    return "\n".join(lines)
