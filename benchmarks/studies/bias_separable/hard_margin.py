"""The hard-margin support vector machine without offset, by two solvers that share nothing."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
from numpy.typing import NDArray
from sklearn.svm import SVC

Array = NDArray[np.float64]


def hard_margin(z: Array) -> tuple[Array, Array]:
    """argmin |w|^2 / 2 subject to z w >= 1 for z (rows, dim), and the multipliers (rows,): an
    interior-point method on the primal, to 1e-12."""
    w = cp.Variable(z.shape[1])
    enough = z @ w >= 1
    tight = {"tol_gap_abs": 1e-12, "tol_gap_rel": 1e-12, "tol_feas": 1e-12}
    cp.Problem(cp.Minimize(cp.sum_squares(w) / 2), [enough]).solve("CLARABEL", **tight)
    return w.value, enough.dual_value


def by_svc(z: Array) -> Array:
    """The same w by libsvm, on the dual: z and -z as two classes have an offset of 0.

    Its kernel is in single precision: the more digits the products of rows have beyond that, the
    farther it is off.
    """
    both = np.concatenate([z, -z])
    found = SVC(C=1e8, kernel="linear", tol=1e-10).fit(both, np.repeat([1, -1], len(z)))
    w: Array = found.coef_[0]
    return w
