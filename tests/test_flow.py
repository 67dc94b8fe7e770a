"""Gradient flow to its limit, and the small models that it is followed on."""

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from benchmarks.common.flow import LeastSquares, descend, flow
from benchmarks.studies.bias_kernel_rich.nets import (
    Diagonal,
    Factors,
    Relu,
    batch,
    lazy,
    mirrored,
    predictor,
    trained,
    turned,
)
from benchmarks.studies.bias_matrix_factorization import Sensing


@dataclass(frozen=True)
class Linear(LeastSquares):
    """f(w) = A w."""

    inputs: np.ndarray

    def gradient(self, weights):
        residual = (self.inputs @ weights[..., None])[..., 0] - self.labels
        return residual, (residual[:, None] @ self.inputs)[:, 0]

    def jacobian(self, weights):
        return self.inputs


def diagonal(seed, depths, alpha):
    random = np.random.default_rng(seed)
    n = len(depths)
    inputs, labels = random.standard_normal((n, 3, 7)), random.standard_normal((n, 3))
    return Diagonal(labels, inputs, np.array(depths)[:, None]), np.full((n, 14), alpha)


def some(kind, seed=0):
    """Two problems of a kind, and weights at which neither is special."""
    random = np.random.default_rng(seed)
    draw = random.standard_normal
    eye = np.eye(4)
    if kind is Diagonal:
        return diagonal(seed, [2, 5], 1.0)[0], random.uniform(0.5, 1.5, (2, 14))
    if kind is Factors:
        rows, columns = np.divmod([random.permutation(16)[:6] for _ in range(2)], 4)
        return Factors(draw((2, 6)), eye[rows], eye[columns]), draw((2, 2 * 4 * 3))
    if kind is Relu:
        return Relu(draw((2, 6)), draw((2, 6, 3))), draw((2, 4 * 5))
    a = draw((2, 6, 4, 4))
    return Sensing(draw((2, 6)), a + a.swapaxes(2, 3)), draw((2, 16))


@pytest.mark.parametrize("kind", [Diagonal, Factors, Relu, Sensing])
def test_derivatives_are_those_of_finite_differences(kind):
    problems, weights = some(kind)
    jacobian = problems.jacobian(weights)
    for i in range(weights.shape[1]):
        step = 1e-6 * np.eye(weights.shape[1])[i]
        after, before = (problems.gradient(weights + sign * step)[0] for sign in (1, -1))
        np.testing.assert_allclose((after - before) / 2e-6, jacobian[..., i], atol=1e-7)
    residual, gradient = problems.gradient(weights)
    np.testing.assert_allclose(np.einsum("bo,bow->bw", residual, jacobian), gradient, atol=1e-12)


@pytest.mark.parametrize("kind", [Diagonal, Factors, Sensing])
def test_the_limit_is_that_of_another_integrator(kind):
    problems, weights = some(kind, seed=1)
    if kind is Sensing:  # labels that can be fitted
        labels = problems.gradient(np.random.default_rng(2).standard_normal((2, 16)))[0]
        problems = Sensing(labels + problems.labels, problems.measurements)
    found = flow(problems, weights, floor=1.0)
    for i in range(2):
        one = problems.take(np.array([i]))
        other = solve_ivp(
            lambda _, w, one=one: -one.gradient(w[None])[1][0],
            (0, 1e4),
            weights[i],
            "LSODA",
            rtol=1e-10,
            atol=1e-12,
        )
        np.testing.assert_allclose(found[i], other.y[:, -1], atol=1e-6)


def test_a_linear_model_ends_at_the_least_change():
    random = np.random.default_rng(0)
    inputs = random.standard_normal((4, 3, 5)) * np.array([1, 1e-3, 1e3])[:, None]  # stiff
    labels, start = random.standard_normal((4, 3)), random.standard_normal((4, 5))
    found = flow(Linear(labels, inputs), start, floor=1.0, stop=1e-12)
    away = labels - (inputs @ start[..., None])[..., 0]
    least = start + (np.linalg.pinv(inputs) @ away[..., None])[..., 0]
    np.testing.assert_allclose(found, least, rtol=1e-6, atol=1e-6 * abs(least).max())


@pytest.mark.parametrize("alpha", [0.1, 1.0])
def test_what_the_flow_of_diagonal_nets_conserves(alpha):
    """u v = alpha^2 at D = 2, and u^(2-D) + v^(2-D) = 2 alpha^(2-D) above; and it interpolates."""
    problems, start = diagonal(0, [2, 3, 4, 6] * 3, alpha)
    weights = flow(problems, start)
    u, v = np.split(weights, 2, axis=1)
    power = 2.0 - problems.depth
    kept = np.where(power, (u**power + v**power) / (2 * alpha**power), u * v / alpha**2)
    np.testing.assert_allclose(kept, 1, atol=1e-6)
    outputs = (problems.inputs @ predictor(weights, problems.depth)[..., None])[..., 0]
    np.testing.assert_allclose(outputs, problems.labels, atol=1e-6)


def test_a_batch_is_each_alone():
    problems, start = diagonal(3, [2, 3, 4], 0.3)
    together = flow(problems, start)
    for i in range(3):
        of = np.array([i])
        np.testing.assert_allclose(flow(problems.take(of), start[of]), together[of], rtol=1e-9)


def test_a_flow_that_does_not_end_is_an_error():
    contradiction = Linear(np.array([[0.0, 1.0]]), np.ones((1, 2, 3)))
    with pytest.raises(ArithmeticError, match="1 of 1"):
        flow(contradiction, np.zeros((1, 3)), floor=1.0, steps=50)


def relu(seed=0, points=12, width=32):
    """One problem without the axis of the batch, all points, and a mirrored start."""
    random = np.random.default_rng(seed)
    inputs = random.standard_normal((points + 20, 5))
    inputs /= np.linalg.norm(inputs, axis=1, keepdims=True)
    whole = Relu(random.standard_normal(points + 20), inputs)
    start = mirrored(random, 1, 5, width).ravel()
    return whole.take(np.arange(points)), whole, start


def test_descent_fits_and_a_mirrored_start_is_zero():
    fitted, _, start = relu()
    problems = batch([fitted], 2)
    start = np.outer([0.3, 3.0], start)
    np.testing.assert_allclose(problems.gradient(start)[0], -problems.labels, atol=1e-12)
    residual, _ = problems.gradient(descend(problems, start, stop=1e-2))
    assert (abs(residual).max(1) <= 1.01e-2 * abs(problems.labels).max(1)).all()


def test_far_from_zero_a_net_is_its_tangent_kernel():
    """The lazy prediction interpolates; training is near it from a large start alone."""
    fitted, whole, start = relu()
    one, everywhere = batch([fitted], 1), batch([whole], 1)
    kernel = lazy(one, everywhere, start[None])
    np.testing.assert_allclose(kernel[:, :12], one.labels, atol=1e-8)
    _, measured = trained([(fitted, whole, start)], (0.1, 30.0), descend)
    near, far = measured["moved"]
    assert far < 0.05 < near
    assert measured["turned"][1] < 1e-3 < measured["turned"][0]


def test_a_kernel_has_not_turned_from_itself_or_its_multiple():
    problems, weights = some(Factors)
    np.testing.assert_allclose(turned(problems, weights, 3 * weights), 0, atol=1e-12)
