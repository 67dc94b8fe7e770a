"""The models that are built by hand do what they are said to do: probes are judged by them."""

import numpy as np
import pytest
import torch
from handmade import counter, resolved_after, solver

import lego
from lego.data import tensors
from lego.probes.capture import capturing

TASKS = {name: lego.load_task("chains", name) for name in ("z2-n6", "z2-n12")}


def answers(model, task, batch):
    """(rows, n): the class that a model gives each variable where it is defined."""
    given = tensors(batch, task)
    del given["labels"]
    with torch.no_grad():
        chosen = model(**given).logits.argmax(-1).numpy()
    return np.take_along_axis(chosen, batch["positions"].astype(np.int64), 1)


@pytest.mark.parametrize("name", TASKS)
def test_the_solver_solves_chains(name):
    task = TASKS[name]
    batch = task.sample("test", 0, 400)
    np.testing.assert_array_equal(answers(solver(task), task, batch), batch["values"])


@pytest.mark.parametrize("name", TASKS)
def test_the_counter_takes_the_shortcut_whole_chain(name):
    task = TASKS[name]
    batch = task.sample("test", 0, 400)
    np.testing.assert_array_equal(
        answers(counter(task), task, batch), task.shortcuts(batch)["whole-chain"]
    )


def test_the_solver_knows_a_variable_after_as_many_blocks_as_it_says():
    task = TASKS["z2-n6"]
    batch = task.sample("test", 0, 50)
    model, streams = solver(task), []
    with torch.no_grad(), capturing(model, streamed=streams.append):
        model(tensors(batch, task)["input_ids"])
    rows = np.arange(50)[:, None]
    for seen in streams:
        logits = model.readout(seen.hidden)[rows, batch["positions"].astype(np.int64)]
        apart = (logits[..., 1] - logits[..., 0]).detach().numpy() * np.where(
            batch["values"], 1, -1
        )
        known = np.array([seen.depth >= resolved_after(depth) for depth in range(6)])
        assert (apart[:, known] > 9).all()
        assert (np.abs(apart[:, ~known]) < 0.1).all()
