"""What a batch costs to make, as a share of the nano training step that uses it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice

import torch
from torch.utils.data import DataLoader

import lego
from benchmarks.speed import Race, race
from lego import zoo
from lego.data import Sampled, tensors

BATCH = 128
SLOW, FAST = 2, 625  # batches of a round; 625 are 8 of the tables that a stream makes at once


def measure() -> Race:
    """Batches of z2-n12 through conv-albert-nano, one thread; then only made, as tensors."""
    torch.set_num_threads(1)
    task = lego.load_task("chains", preset="z2-n12")
    source = Sampled(task)
    given = tensors(source.take("train", 0, BATCH), task)
    model = zoo.build("conv-albert-nano", task)
    optimizer = torch.optim.AdamW(model.parameters())
    rows = lego.stream(task, "train").select_columns(["input_ids", "labels"]).with_format("torch")

    def train() -> int:
        for _ in range(SLOW):
            model(**given).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
        return SLOW

    def sample() -> int:
        for start in range(0, FAST * BATCH, BATCH):
            tensors(source.take("train", start, start + BATCH), task)
        return FAST

    def of(batches: Iterable[object], count: int) -> Callable[[], int]:
        endless = iter(batches)
        return lambda: sum(1 for _ in islice(endless, count))

    listed = DataLoader(rows.batch(BATCH), batch_size=None)
    contestants = {
        "a step": train,
        "lego.data.Sampled, as lego train": sample,
        "lego.stream(...).iter(128)": of(rows.iter(BATCH), FAST),
        "DataLoader(lego.stream(...).batch(128), None)": of(listed, 79),
        "DataLoader(lego.stream(...), 128)": of(DataLoader(rows, BATCH), 10),
    }
    return race("batches of 128", contestants)
