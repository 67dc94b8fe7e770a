"""The science of the study of separable data: its flows, its margins, its batch."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.optimize import nnls

from benchmarks.studies.bias_separable import log_time
from benchmarks.studies.bias_separable import measured as study
from benchmarks.studies.bias_separable.hard_margin import by_svc, hard_margin

SMALL = study.Settings(1, points=8, dim=3, width=2, fresh=50, steps=200, tolerance=1e-8)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("start", [-3.0, 0.0, 2.0])
def test_the_flow_of_one_point_is_known(start):
    """dw/dt = exp(-w) from t = 1: exp(w) = exp(w0) + t - 1."""
    taus = np.array([0, 0.5, 3, 40, 1e4])
    one = torch.nn.Identity()
    w = log_time.flow(log_time.linear(one), np.array([[start]]), np.ones((1, 1, 1)), taus, 1e-10)
    known = taus + np.log1p(np.expm1(start) * np.exp(-taus))
    assert np.allclose(w[:, 0, 0], known, rtol=1e-8, atol=1e-7)


def cross_entropy(w, z):
    return torch.log1p(torch.exp(-(z @ w)).sum(-1)).sum()


def exponential(w, z):
    return torch.exp(-(z[:, 0] @ w)).sum()


def network(layers, z):
    first, second, last = layers[:6].view(2, 3), layers[6:10].view(2, 2), layers[10:]
    return exponential(first.T @ second.T @ last, z)


@pytest.mark.parametrize(
    ("velocity", "loss", "size"),
    [
        (log_time.linear(study.TAILS["exponential"]), exponential, 3),
        (log_time.linear(study.TAILS["logistic"]), cross_entropy, 3),
        (log_time.cross_entropy, cross_entropy, 3),
        (log_time.network(3, 2), network, 12),
    ],
)
def test_a_velocity_is_t_times_minus_the_gradient(velocity, loss, size):
    classes = velocity is log_time.cross_entropy
    z = torch.tensor(normal(2, 5, 2 if classes else 1, 3))
    state = torch.tensor(normal(2, size, seed=1), requires_grad=True)
    (gradient,) = torch.autograd.grad(loss(state[0], z[0]) + loss(state[1], z[1]), state)
    found = velocity(torch.tensor(1.5), state.detach(), z if classes else z[:, :, 0])
    assert torch.allclose(found, -np.exp(1.5) * gradient, rtol=1e-6)


def test_a_network_keeps_the_differences_of_its_layers():
    z = study.binary(3, SMALL)[0][None]
    start, taus = normal(1, 12), np.array([0, 5, 100.0])
    layers = log_time.flow(log_time.network(3, 2), start, z, taus, 1e-8)[:, 0]
    kept = []
    for flat in layers:
        first, second, last = flat[:6].reshape(2, 3), flat[6:10].reshape(2, 2), flat[10:]
        kept.append([second.T @ second - first @ first.T, np.outer(last, last) - second @ second.T])
    assert np.allclose(kept, kept[:1], atol=1e-4) and np.linalg.norm(layers[-1]) > 5


@pytest.mark.parametrize("seed", range(5))
def test_three_solvers_find_one_margin(seed):
    z = study.binary(seed, SMALL)[0]
    w, alpha = hard_margin(z)
    assert (z @ w).min() == pytest.approx(1, abs=1e-8)
    assert alpha.min() > -1e-8 and np.allclose(alpha @ z, w, atol=1e-8)
    assert np.allclose(by_svc(z), w, rtol=2e-7, atol=2e-7)
    # Lawson and Hanson: the least |w| with z w >= 1 is read from the residual of an NNLS problem.
    stacked, aim = np.vstack([z.T, np.ones(len(z))]), np.append(np.zeros(z.shape[1]), 1)
    residual = stacked @ nnls(stacked, aim)[0] - aim
    assert np.allclose(-residual[:-1] / residual[-1], w, atol=1e-7)


@pytest.mark.parametrize("seed", range(3))
def test_the_polynomial_tails_direction_is_stationary(seed):
    z = study.binary(seed, SMALL)[0]
    v, k = study.heavy_direction(z, hard_margin(z)[0]), study.HEAVY
    assert np.allclose(v / (k + 1), (z @ v) ** -k @ z, atol=1e-9)


def test_rows_of_classes_are_differences_of_scores():
    z, teacher = study.points(1, SMALL, classes=4)
    assert z.shape == (8, 3, 12) and (z @ teacher.ravel() > 0).all()
    assert np.allclose(z.reshape(8, 3, 4, 3).sum(2), 0)
    binary = study.binary(1, SMALL)[0]
    halves = study.points(1, SMALL, classes=2)[0].reshape(8, 2, 3)
    assert np.array_equal(halves[:, 1], binary) and np.array_equal(halves[:, 0], -binary)


def test_a_batch_of_flows_goes_where_each_goes_alone():
    z = np.stack([study.binary(seed, SMALL)[0] for seed in (3, 5)])
    start, taus = normal(2, 12), np.array([0, 1, 30.0])
    velocity = log_time.network(3, 2)
    both = log_time.flow(velocity, start, z, taus, 1e-7)
    for i in range(2):
        alone = log_time.flow(velocity, start[i : i + 1], z[i : i + 1], taus, 1e-7)[:, 0]
        assert np.allclose(both[:, i], alone, rtol=1e-4, atol=1e-4)


def test_a_batch_measures_what_its_seeds_measure_alone():
    settings = study.Settings(2, ("logistic",), points=8, dim=3, fresh=50, tolerance=1e-7)
    both = pd.DataFrame(study.measure_losses(settings, [3, 5]))
    alone = pd.DataFrame(row for seed in (3, 5) for row in study.measure_losses(settings, [seed]))
    pd.testing.assert_frame_equal(both, alone, rtol=1e-3, atol=1e-5)
