"""The truths of bias-matrix-factorization: extreme traces, the finite-alpha limit, the gate."""

from dataclasses import replace

import cvxpy as cp
import numpy as np
import pytest
from scipy.optimize import linprog

from benchmarks.studies.bias_matrix_factorization import (
    EXACT,
    GATE,
    KINDS,
    STUDY,
    Sensing,
    draw,
    extreme_trace,
    finite_limit,
    limits,
    measure,
)

SETTINGS = replace(STUDY.scales["smoke"], side=6, measured=(3, 12, 12, 9), alphas=(1e-2, 1.0))


def spectra(problem):
    turned = problem.basis.T @ problem.measurements @ problem.basis
    return np.diagonal(turned, axis1=1, axis2=2)


@pytest.mark.parametrize("seed", range(3))
def test_the_least_trace_of_commuting_measurements_is_a_linear_program(seed):
    problem = draw(SETTINGS, "commuting", seed)
    program = linprog(np.ones(6), A_eq=spectra(problem), b_eq=problem.labels, method="highs")
    assert np.isclose(problem.least, program.fun, rtol=1e-6)


@pytest.mark.parametrize("alpha", [1e-3, 0.1, 1.0])
def test_the_finite_limit_is_the_entropic_minimiser(alpha):
    problem = draw(SETTINGS, "commuting", 1)
    values = cp.Variable(6)
    objective = -cp.sum(cp.entr(values)) - (1 + np.log(alpha**2)) * cp.sum(values)
    program = cp.Problem(cp.Minimize(objective), [spectra(problem) @ values == problem.labels])
    program.solve(solver=cp.CLARABEL)
    other = (problem.basis * values.value) @ problem.basis.T
    np.testing.assert_allclose(finite_limit(problem, alpha), other, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_problem_is_not_vacuous_and_can_be_fitted(kind):
    problem = draw(SETTINGS, kind, 0)
    assert problem.most >= GATE * problem.least
    np.testing.assert_allclose(np.linalg.norm(problem.measurements, axis=(1, 2)), 1)
    commutator = problem.measurements[0] @ problem.measurements[1]
    commutes = np.allclose(commutator, commutator.T, atol=1e-12)
    if kind in ("commuting", "gaussian"):
        assert commutes == (kind == "commuting")


def test_where_nearly_all_is_measured_the_gate_is_shut():
    random = np.random.default_rng(0)
    measurements = random.standard_normal((20, 6, 6))  # of the 21 dimensions
    measurements += measurements.swapaxes(1, 2)
    factor = random.standard_normal(6)
    labels = np.einsum("mij,i,j->m", measurements, factor, factor)
    least, most = (extreme_trace(measurements, labels, sign)[0] for sign in (1, -1))
    assert not most >= GATE * least


def test_a_rotated_problem_ends_at_the_rotated_limit():
    problem = draw(SETTINGS, "gaussian", 2)
    turn = np.linalg.qr(np.random.default_rng(3).standard_normal((6, 6)))[0]
    start = 0.1 * np.eye(6)[None]
    found = limits(Sensing(problem.labels[None], problem.measurements[None]), start, EXACT)[0]
    turned = turn @ problem.measurements @ turn.T
    other = limits(Sensing(problem.labels[None], turned[None]), start, EXACT)[0]
    np.testing.assert_allclose(other, turn @ found @ turn.T, atol=1e-5)
    values = np.einsum("mij,ij->m", problem.measurements, found)
    np.testing.assert_allclose(values, problem.labels, atol=1e-5)


def test_a_cell_alone_is_that_of_the_batch():
    some = replace(SETTINGS, kinds=("commuting", "entries, rank 1"))
    rows = {(row["seed"], row["kind"], row["alpha"]): row for row in measure(some, (4, 5))}
    alone = replace(SETTINGS, kinds=("commuting",), alphas=(1e-2,))
    (row,) = measure(alone, (5,))
    for name in ("excess", "uneven"):
        assert np.isclose(row[name], rows[5, "commuting", 1e-2][name], rtol=1e-6)
