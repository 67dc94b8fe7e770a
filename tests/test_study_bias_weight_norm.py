"""The science of the study of weight normalisation: its closed form, its steps, its batch."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from benchmarks.studies import bias_weight_norm as study

ratios = st.floats(0.2, 60)
starts = st.floats(0.05, 2)
parts = st.floats(0.05, 0.95)


@settings(max_examples=20, deadline=None)
@given(ratios, starts, st.floats(0.2, 1.3))
def test_the_limit_is_that_of_a_wheel(c, g0, angle):
    """With one row, w is an angle: a flow of two numbers, of which none is projected."""

    def velocity(_, state):
        turned, g = state
        residual = g * np.cos(turned) - 1
        return [c * g * np.sin(turned) * residual, -np.cos(turned) * residual]

    found = solve_ivp(velocity, (0, 2000), [angle, g0], "LSODA", rtol=1e-10, atol=1e-12)
    turned, g = found.y[:, -1]
    assert abs(g * np.cos(turned) - 1) < 1e-8
    assert study.limit(c, g0, np.sin(angle) ** 2) == pytest.approx(g**2, rel=1e-6)


@given(starts, parts)
def test_at_c_of_C_both_end_equally_far(g0, p0):
    c, more = study.even(np.array([g0]), np.array([p0]))
    square = study.limit(float(c[0]), g0, p0)
    assert square - 1 == pytest.approx(g0**2 * p0, rel=1e-6, abs=1e-9)
    beyond = study.limit(2 * float(c[0]), g0, p0)
    assert (beyond < square) == more[0]


@given(ratios, starts, parts)
def test_the_limit_solves_its_equations(c, g0, p0):
    square = study.limit(c, g0, p0)
    outside = p0 * np.exp(c * (g0**2 - square))
    assert 0 < outside < 1 and square * (1 - outside) == pytest.approx(1, rel=1e-9)


def test_the_pull_is_the_gradient_of_the_loss():
    batch = study.Batch(study.Settings(1, (2,), (0.7,), 3, 5), [4])
    w, g, (A,), (y,) = batch.w[0, :, 0], batch.g[0, 0], batch.A, batch.y

    def loss(w, g):
        return 0.5 * float(((A @ (g * w / np.linalg.norm(w)) - y[:, 0]) ** 2).sum())

    pull, along = (found[0, ..., 0] for found in batch.pull(batch.w, batch.g))
    nudges = 1e-6 * np.eye(5)
    by_w = [(loss(w + nudge, g) - loss(w - nudge, g)) / 2e-6 for nudge in nudges]
    assert np.allclose(g * (pull - along * w), by_w, atol=1e-8)
    assert along == pytest.approx((loss(w, g + 1e-6) - loss(w, g - 1e-6)) / 2e-6, abs=1e-8)


def test_a_batch_finds_what_its_cells_find_alone():
    both = study.measure(study.Settings(2, (1, 4), (0.5, 1.2), 3, 6), [3, 5])
    alone = [
        row
        for seed in (3, 5)
        for c in (1, 4)
        for g0 in (0.5, 1.2)
        for row in study.measure(study.Settings(1, (c,), (g0,), 3, 6), [seed])
    ]
    pd.testing.assert_frame_equal(pd.DataFrame(both), pd.DataFrame(alone), atol=1e-7)
