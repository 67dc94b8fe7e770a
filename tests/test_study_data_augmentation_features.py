"""The building blocks of the study of augmentation as feature manipulation."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from benchmarks.studies import data_augmentation_features as study

SMALL = study.Settings(
    2, (1.5, 3.0), (0.1, 0.4), losses=(0.2, 0.1), samples=24, dimension=30, channels=4, tests=40
)


def test_a_sample_is_as_the_model_of_the_data_says():
    x, y = study.draw([0], 4000, 50, 3.0, 0.2)
    feature = x[:, 0, : study.RARE + 1] * y[:, None]
    assert set(y.tolist()) == {-1.0, 1.0}
    assert torch.equal(feature.sum(1), torch.ones(4000)) and x[:, 0, 2:].abs().max() == 0
    assert feature[:, study.RARE].sum() == 800  # .2 of them, exactly
    norms = x.norm(dim=-1).square().mean(0).sqrt().tolist()
    assert norms[1:] == pytest.approx([3, study.BACKGROUND, study.BACKGROUND], rel=0.01)


def test_noise_and_frequency_change_nothing_else():
    one, label = study.draw([5], 50, 20, 1.0, 0.1)
    other, same = study.draw([5], 50, 20, 3.0, 0.1)
    assert torch.equal(label, same) and torch.equal(one[:, [0, 2, 3]], other[:, [0, 2, 3]])
    assert torch.allclose(3 * one[:, 1], other[:, 1])


def test_the_swap_is_orthogonal_and_its_own_inverse():
    basis = torch.eye(6)
    swap = study.swapped(basis)
    assert torch.equal(swap @ swap.T, basis) and torch.equal(study.swapped(swap), basis)
    assert torch.equal(swap[study.COMMON], basis[study.RARE])


def test_the_control_moves_each_patch_as_far_as_the_swap():
    x, _ = study.draw([1], 30, 40, 2.0, 0.3)
    moved = (study.noisy(x, 1) - x).norm(dim=-1)
    assert torch.allclose(moved, (study.swapped(x) - x).norm(dim=-1), rtol=1e-4, atol=1e-6)
    assert torch.allclose(moved[:, 0], torch.tensor(math.sqrt(2)), rtol=1e-4)


@given(st.floats(-4, 4))
def test_the_slope_is_the_derivative_of_the_activation(z):
    step = 1e-5
    at = torch.tensor([z - step, z + step, z], dtype=torch.float64)
    low, high, _ = study.bend(at).tolist()
    assert (high - low) / (2 * step) == pytest.approx(study.slope(at)[2].item(), abs=1e-4)


@pytest.mark.parametrize("model", study.MODELS)
def test_training_in_a_batch_is_gradient_descent_of_each_net(model):
    """Against a plain loop with automatic differentiation; the second net needs longer."""
    cells = (0, 3.0, 0.4), (1, 1.5, 0.1)
    x, y = map(torch.stack, zip(*(study.draw([s], 24, 30, n, f) for s, n, f in cells), strict=True))
    weights = torch.stack([study.start(seed, SMALL, model) for seed, *_ in cells])
    kept, right = study.train(x, y, weights, model, SMALL.losses)
    psi = study.bend if model == "net" else study.straight
    for net in range(2):
        w, lasts = weights[net].clone(), list(SMALL.losses)
        reached = []
        while lasts:
            w.requires_grad_()
            out = psi(x[net] @ w).sum((1, 2))
            loss = functional.softplus(-out * y[net]).mean()
            while lasts and loss <= lasts[0]:
                reached.append((w.detach(), (out * y[net] > 0).float().mean()))
                lasts.pop(0)
            (slope,) = torch.autograd.grad(loss, w)
            w = (w - max(study.RATE, study.FAST / loss.item()) * slope).detach()
        for target, (alone, share) in enumerate(reached):
            assert torch.allclose(kept[net, target], alone, atol=1e-4)
            assert right[net, target] == share


def test_the_output_is_a_sum_over_patches_and_channels():
    x, _ = study.draw([2], 5, 30, 2.0, 0.3)
    w = study.start(2, SMALL, "net") * 10
    alone = [sum(study.bend(p @ c).item() for p in one for c in w.T) for one in x]
    assert torch.allclose(study.output(w[None], x[None], study.bend)[0], torch.tensor(alone))


def test_a_cell_alone_gives_the_rows_that_it_gives_in_the_batch():
    together = list(study.measure(SMALL, (0, 1)))
    one = dataclasses.replace(SMALL, noises=(3.0,), frequencies=(0.4,))
    alone = list(study.measure(one, (1,)))
    chosen = [r for r in together if (r["seed"], r["noise"], r["frequency"]) == (1, 3.0, 0.4)]
    assert [row["loss"] for row in alone] == [0.2, 0.1]
    for row, same in zip(alone, chosen, strict=True):
        assert row == pytest.approx(same, abs=0.03)  # a test sample or so at the boundary


@settings(max_examples=30)
@given(st.floats(0.55, 0.95))
def test_the_crossing_inverts_a_line(level):
    noises = np.array([1.0, 2.0, 4.0])
    accuracy = 1.0 - 0.125 * noises  # .875, .75, .5
    found = study.crossing(noises, accuracy, level)
    assert math.isnan(found) if level > 0.875 else found == pytest.approx((1 - level) / 0.125)
