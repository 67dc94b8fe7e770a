"""The truths of bias-kernel-rich: the potential Q, its minimiser, the least norms."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import brentq

from benchmarks.studies.bias_kernel_rich import STUDY
from benchmarks.studies.bias_kernel_rich.measured import (
    completion,
    least_l1,
    least_nuclear,
    least_q,
    link,
    measure_plane,
)

DEPTHS = (2, 3, 4, 6)


def inverse(b, depth):
    """h^-1(b), by bisection."""
    end = 50.0 if depth == 2 else 1 - 1e-13
    return brentq(lambda z: float(link(np.array(z), np.array(depth))[0]) - b, -end, end, xtol=1e-15)


def rise(beta, step, depth, scale):
    """Q(beta + step) - Q(beta): the integral of h^-1, over short ways by Gauss and Legendre."""
    nodes, weights = np.polynomial.legendre.leggauss(5)
    return sum(
        change / 2 * weight * inverse((b + change * (1 + node) / 2) / scale, depth)
        for b, change in zip(beta, step, strict=True)
        for node, weight in zip(nodes, weights, strict=True)
    )


def problem(seed=0):
    random = np.random.default_rng(seed)
    return random.standard_normal((3, 6)), random.standard_normal(3)


@pytest.mark.parametrize("b", [1e-3, 0.3, 2.0, 40.0])
def test_the_potential_of_depth_2_is_the_closed_form(b):
    closed = 2 - np.sqrt(4 + b**2) + b * np.arcsinh(b / 2)
    assert np.isclose(quad(inverse, 0, b, args=(2,))[0], closed, rtol=1e-7)


@pytest.mark.parametrize("z", [-0.7, 0.01, 1.3])
def test_depth_2_is_the_limit_of_larger_depths(z):
    """(1 - z / p)^-p -> exp z as p = D / (D - 2) grows."""
    depth = 2 + 1e-7
    power = depth / (depth - 2)
    near, _ = link(np.array(z / power), np.array(depth))
    exact, _ = link(np.array(z), np.array(2))
    assert np.isclose(near, exact, rtol=1e-6)


@pytest.mark.parametrize("depth", DEPTHS)
def test_the_derivative_of_the_link(depth):
    z = np.linspace(-0.9, 0.9, 7)
    (after, _), (before, _) = (link(z + step, np.array(depth)) for step in (1e-6, -1e-6))
    np.testing.assert_allclose((after - before) / 2e-6, link(z, np.array(depth))[1], rtol=1e-5)


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("alpha", [0.1, 1.0])
def test_the_minimiser_of_q(depth, alpha):
    """It fits, its gradient is in the row space, and Q by integration is larger all around."""
    inputs, labels = problem()
    scale = alpha**depth
    (beta,) = least_q(inputs[None], labels[None], np.array([[depth]]), np.array([[scale]]))
    np.testing.assert_allclose(inputs @ beta, labels, atol=1e-9)
    slope = np.array([inverse(b, depth) for b in beta / scale])
    off = slope - np.linalg.pinv(inputs) @ (inputs @ slope)
    assert abs(off).max() < 1e-7 * abs(slope).max()
    free = np.linalg.svd(inputs)[2][3:]  # changes that leave the outputs as they are
    assert all(rise(beta, 0.01 * step, depth, scale) > 0 for step in (*free, *-free))


@pytest.mark.parametrize("depth", DEPTHS)
def test_the_ends_of_q_are_the_norms(depth):
    inputs, labels = problem(1)
    scales = np.array([[1e-6 if depth > 2 else 1e-12], [1e4]])
    both = np.stack([inputs] * 2), np.stack([labels] * 2)
    rich, kernel = least_q(*both, np.array([[depth]] * 2), scales)
    assert np.isclose(abs(rich).sum(), least_l1(inputs, labels), rtol=0.05)
    np.testing.assert_allclose(kernel, np.linalg.pinv(inputs) @ labels, atol=1e-6)


def test_the_least_nuclear_norm_is_below_that_of_what_fits():
    settings = STUDY.scales["smoke"]
    seen, whole, _ = completion(settings, 0)
    side = settings.side
    zeros = np.zeros(side * side)
    at = np.argmax(seen.rows, 1) * side + np.argmax(seen.columns, 1)
    np.put(zeros, at, seen.labels)
    least = least_nuclear(seen)
    for matrix in (whole.labels, zeros):
        assert least <= np.linalg.norm(matrix.reshape(side, side), "nuc") + 1e-6
    # The dual norm: no matrix Z on the seen entries of spectral norm 1 has <Z, Y> above it.
    z = np.zeros(side * side)
    np.put(z, at, np.sign(seen.labels))
    z = z.reshape(side, side)
    assert least >= (z / np.linalg.norm(z, 2)).ravel() @ zeros - 1e-6


def test_a_cell_alone_is_that_of_the_batch():
    settings = replace(STUDY.scales["smoke"], depths=(2, 3), alphas=(0.1, 1.0))
    rows = {
        (row["seed"], row["depth"], row["alpha"]): row for row in measure_plane(settings, (5, 6))
    }
    alone = replace(settings, depths=(3,), alphas=(0.1,))
    (row,) = measure_plane(alone, (6,))
    for name in ("l1", "l2", "wrong"):
        assert np.isclose(row[name], rows[6, 3, 0.1][name], rtol=1e-6)
