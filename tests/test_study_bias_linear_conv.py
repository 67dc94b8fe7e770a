"""The induced norm of linear convolutional networks, by other derivations."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.svm import SVC

from benchmarks.studies.bias_linear_conv import measured as study
from benchmarks.studies.bias_linear_conv.bilinear import bilinear, minimise
from benchmarks.studies.bias_linear_conv.conv_nets import compose, descend, linear, relu, windows
from benchmarks.studies.bias_linear_conv.induced_norm import (
    Shape,
    closed_form,
    least,
    least_norm,
    program,
)

seeds = st.integers(0, 2**32 - 1)


def made_by_hand(kernel, weight):
    """W (D, R) of kernels (C, R, K) and weights (C, D), from the definition."""
    (channels, inputs, size), length = kernel.shape, weight.shape[1]
    w = np.zeros((length, inputs))
    for c in range(channels):
        for d in range(length):
            for k in range(size):
                w[(d + k) % length] += weight[c, d] * kernel[c, :, k]
    return w


def applied_by_hand(x, kernel, weight, activation):
    """f of x (D,): each unit a window's product, an activation, a weight."""
    length = len(x)
    total = 0.0
    for u, v in zip(kernel, weight, strict=True):
        for d in range(length):
            total += v[d] * activation(sum(u[k] * x[(d + k) % length] for k in range(len(u))))
    return total


@given(seeds)
@settings(max_examples=5, deadline=None)
def test_one_net_in_four_ways(seed):
    rng = np.random.default_rng(seed)
    kernel, weight, x = (rng.normal(size=size) for size in ((2, 3), (2, 6), 6))
    w = made_by_hand(kernel[:, None], weight)[:, 0]
    a = torch.from_numpy(np.concatenate([kernel, weight], 1))
    quadratic = torch.einsum("cp, mpq, cq -> m", a, bilinear(1, 6, 3), a) / 2
    u, v, inputs = (torch.from_numpy(one)[None] for one in (kernel, weight, x[None]))
    for found in (quadratic, compose(u, v)[0]):
        np.testing.assert_allclose(found, w, atol=1e-12)
    plain = applied_by_hand(x, kernel, weight, lambda z: z)
    np.testing.assert_allclose([plain, float(linear(inputs, u, v))], x @ w, atol=1e-12)
    bent = applied_by_hand(x, kernel, weight, lambda z: max(z, 0))
    np.testing.assert_allclose(float(relu(windows(inputs), u, v)), bent, atol=1e-12)


@given(seeds, st.integers(1, 6), st.integers(1, 2), st.integers(1, 3))
@settings(max_examples=8, deadline=None)
def test_no_weights_are_below_the_program(seed, size, inputs, channels):
    rng = np.random.default_rng(seed)
    kernel, weight = rng.normal(size=(channels, inputs, size)), rng.normal(size=(channels, 6))
    norm = least_norm(Shape(inputs, 6, size, channels), made_by_hand(kernel, weight))
    assert norm <= ((kernel**2).sum() + (weight**2).sum()) * (1 + 1e-6)


@pytest.mark.parametrize("inputs", [1, 3])
@pytest.mark.parametrize("size", [1, 6])
def test_the_closed_forms_are_attained(inputs, size):
    """Weights made from the singular vectors, or frequency by frequency, cost what they say."""
    w = np.random.default_rng(inputs).normal(size=(6, inputs))
    if size == 1:
        left, values, right = np.linalg.svd(w, full_matrices=False)
        weight, kernel = (left * values**0.5).T, (right.T * values**0.5).T[:, :, None]
    else:
        hat = np.fft.fft(w, axis=0, norm="ortho")  # (frequency, input)
        scale = (np.linalg.norm(hat, axis=1) / 6**0.5) ** 0.5  # of both layers, equally
        kernel = np.fft.ifft(hat / scale[:, None] / 6**0.5, axis=0, norm="ortho").real.T[None]
        weight = np.fft.ifft(scale, norm="ortho").real[None]
    np.testing.assert_allclose(made_by_hand(kernel, weight), w, atol=1e-12)
    cost = (kernel**2).sum() + (weight**2).sum()
    assert closed_form(w, size) == pytest.approx(cost, rel=1e-12)
    assert least_norm(Shape(inputs, 6, size, 3), w, gap=1e-10) == pytest.approx(cost, rel=1e-7)


def test_one_channel_is_enough_by_fejer_and_riesz():
    """The kernel whose power spectrum is that of all channels of the program's Z costs no more."""
    length, size = 8, 3
    w = np.random.default_rng(5).normal(size=length)
    cost, made = program(Shape(1, length, size, 0))
    value = least(cost, [made[:, 0] == w], gap=1e-10)
    z = cost.variables()[0].value[:size, :size]
    power = [np.trace(z, lag) for lag in range(size)]  # the autocorrelation
    roots = np.roots(power[::-1] + power[1:])
    kernel = np.poly(roots[np.argsort(abs(roots))[: size - 1]]).real
    kernel *= (power[0] / (kernel**2).sum()) ** 0.5
    hat = np.fft.fft(w, norm="ortho") / np.fft.fft(kernel, length, norm="ortho") / length**0.5
    weight = np.fft.ifft(hat, norm="ortho").real
    np.testing.assert_allclose(made_by_hand(kernel[None, None], weight[None])[:, 0], w, atol=1e-10)
    assert (kernel**2).sum() + (weight**2).sum() == pytest.approx(value, rel=1e-6)


def test_direct_minimisation_is_scaled_and_shifted_with_its_target():
    rng = np.random.default_rng(0)
    w = rng.normal(size=8)
    targets = torch.from_numpy(np.stack([w, np.roll(w, 3), w[::-1].copy()]) / np.linalg.norm(w))
    start = torch.from_numpy(rng.normal(size=(1, 1, 10))).repeat(3, 1, 1) / 3
    norms, violation = minimise(bilinear(1, 8, 2), targets, start)
    assert violation.max() < 1e-8
    np.testing.assert_allclose(norms, float(norms[0]), rtol=1e-6)


def test_a_net_descends_in_a_batch_as_alone():
    x, labels = study.digits((3, 8), 0)
    inputs, signs = (torch.from_numpy(one)[None].repeat_interleave(2, 0) for one in (x, labels))
    rng = torch.Generator().manual_seed(0)
    kernel, weight = (torch.randn(2, 2, n, generator=rng).double() / 10 for n in (4, 16))
    kernel[1, :, 1:] = 0
    kernel[1, 1] = weight[1, 1] = 0
    both = descend(linear, inputs, signs, kernel, weight, (5.0, 20.0))
    alone = descend(linear, inputs[1:], signs[1:], kernel[1:, :1, :1], weight[1:, :1], (5.0, 20.0))
    np.testing.assert_allclose(both.costs[1:], alone.costs, rtol=1e-9)
    assert (both.margin >= 20).all() and (both.kernel[1, :, 1:] == 0).all()
    margin = (signs * linear(inputs, both.kernel, both.weight)).amin(1)
    np.testing.assert_allclose(margin, both.margin)
    norm = both.kernel.square().sum((1, 2)) + both.weight.square().sum((1, 2))
    np.testing.assert_allclose(norm / margin, both.costs[:, -1])


def test_kernels_of_size_one_prefer_the_largest_l2_margin():
    x, labels = study.digits((0, 1), 1)
    cost, made = program(Shape(1, 16, 1, 0))
    value = least(cost, [(x * labels[:, None]) @ made >= 1])
    machine = SVC(kernel="linear", C=1e8, tol=1e-8).fit(
        np.concatenate([x, -x]), np.r_[labels, -labels]
    )
    assert value == pytest.approx(2 * np.linalg.norm(machine.coef_), rel=1e-4)
