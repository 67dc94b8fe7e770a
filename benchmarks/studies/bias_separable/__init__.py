"""Gradient descent on separable data: how slowly its direction tends to the maximal margin.

Rows z_n = y_n x_n, all on one side of some plane through 0; the loss is sum l(z_n.w), and -l'(u)
falls as exp(-u). Soudry et al. (JMLR 2018, arXiv 1710.10345): w / |w| tends to that of the hard
margin, w^ = argmin |w|^2 subject to z_n.w >= 1, as 1 / log t; so slowly that no run of plain
descent shows the rate. Here the flow dw/dt is integrated in tau = log t up to t = e^100000.

**Rates (our derivation).** Let w = w^ tau + rho. Then t dw/dt = w^ + d rho / d tau must be
sum_n exp(tau - z_n.w) z_n, and where z_n.w^ > 1 the term vanishes. On the support vectors, with
z_n.w^ = 1, rho comes to rest where exp(-z_n.rho) = alpha_n, the multipliers of the hard margin:
w^ = sum alpha_n z_n. So t (-l'(z_n.w)) -> alpha_n and t L -> sum alpha_n = |w^|^2. As rho is
bounded, the direction and the margin min_n z_n.w / |w| are O(1 / tau) from their limits. The
logistic loss on points x with y x.w^ < 0 grows as tau times the mean of max(0, -y x.w^).

**Tails (our derivation).** For -l'(u) = exp(-u^nu), put w = w^ T(tau) + rho, T^nu ~ tau. On the
support vectors nu T^(nu - 1) z_n.rho -> -log alpha_n + a constant: again 1 / tau of the norm. What
lies across all support vectors stays as it was: T^-1 = tau^(-1 / nu) of the norm, which is slower
for nu > 1, if they do not span the space. For -l'(u) = u^-k the rows never separate: w grows as
t^(1 / (k + 1)) v, where v / (k + 1) = sum (z_n.v)^-k z_n, another direction.

**Classes.** Cross-entropy over K: with rows z_nk = (e_y - e_k) (x) x_n, -dl/du_nk falls as
exp(-u_nk): the same, with the hard margin of all rows z_nk (Crammer and Singer's).

**Deep linear networks (our derivation).** u_n = z_n.b, b = W_D ... W_1 (the last a vector), all
trained. W_(i+1)'W_(i+1) - W_i W_i' is kept: as the layers grow they become of rank one and of one
norm |b|^(1/D), and t db/dt = |b|^(2-2/D) (I + (D-1) b b' / |b|^2) sum exp(tau - u_n) z_n. b along
w^ grows as before, so t L -> |w^|^2 / (D (|w^| tau)^(2-2/D)), and on the support vectors t (-l')
becomes proportional to alpha_n: 1 / tau again. But W_1 keeps what lies across all support vectors,
while its norm is tau^(1/D): where they do not span the space, b is off by tau^(-1/D) of its norm.
If the last layer v alone is trained, over a fixed M, it tends to the direction of the hard margin
of the features M z_n; M'v is then along w^ if the support vectors are the same and span the space.
"""

from __future__ import annotations

import pandas as pd

from benchmarks import verdict
from benchmarks.studies.bias_separable.measured import (
    EXPONENTIAL,
    Settings,
    measure_classes,
    measure_descent,
    measure_last,
    measure_losses,
    measure_networks,
)
from benchmarks.studies.bias_separable.shown import show
from benchmarks.study import Found, Part, Study

SLOPES = {"nu=1/2": -1.0, "nu=2": -0.5}  # at most


def judge(found: Found, settings: Settings) -> list[verdict.Check]:
    by_seed = {part: rows.set_index("seed") for part, rows in found.items()}
    losses, classes, descent = by_seed["losses"], by_seed["classes"], by_seed["descent"]
    both = pd.concat([losses, classes])
    plain = losses[losses.loss.isin(EXPONENTIAL)]
    heavy = losses[losses.loss == "polynomial"]
    late = descent[descent.t == descent.t.max()]
    tail, all_rows = "exponential tail", "binary and classes"
    checks = {
        f"{all_rows}: w^ by cvxpy and by SVC, apart over its norm": (both.solvers, 2e-7),
        f"{all_rows}: t (-l') from alpha, over the largest alpha": (both.alpha, 1e-4),
        f"{tail}: slope of the distance, from -1": ((plain.slope + 1).abs(), 0.03),
        f"{tail}: slope of the margin's gap": (plain.gap, -0.97),
        f"{tail}: t L over the squared norm of w^, from 1": ((plain.total - 1).abs(), 1e-4),
        "logistic loss on fresh points over what w^ says, from 1": ((plain.ratio - 1).abs(), 0.02),
        "polynomial tail: distance from v": (heavy.heavy, 1e-4),
        "classes: distance from w^ at the end": (classes["last"], 1e-3),
        "last layer alone: distance from its w^": (by_seed["last"]["last"], 1e-3),
        f"plain descent from its flow at t = {late.t.max():g}": (late.apart, 5e-3),
    }
    for loss, steepest in SLOPES.items():
        if loss in settings.losses:
            found_slopes = losses[losses.loss == loss].slope
            checks[f"{loss}: slope of the distance"] = (found_slopes, steepest + 0.03)
    for depth, one in by_seed["networks"].groupby("depth"):
        checks |= {
            f"depth {depth}: distance from w^ at the end": (one["last"], 0.02),
            f"depth {depth}: slope of the distance": (one.slope, -1 / depth + 0.05),
            f"depth {depth}: loss over its limit, from 1": ((one.total - 1).abs(), 0.01),
        }
    mean = classes.slope.groupby("seed").mean()
    return [
        verdict.mean("classes: slope of the distance, mean", mean, below=-0.95),
        *(
            verdict.every(name, values.groupby("seed").max(), below=bound)
            for name, (values, bound) in checks.items()
        ),
        verdict.every(
            "polynomial tail: distance from w^ at the end", heavy["last"], below=1e-3, control=True
        ),
    ]


STUDY = Study(
    claim="""Gradient descent on linearly separable data tends to the direction of the hard-margin
    support vector machine w^, as slowly as 1 / log t, while the loss falls as 1 / t and that of
    points it gets wrong grows as log t: for losses with an exponential tail and for more classes.
    A deep linear network tends to this direction too.""",
    source="""Soudry, Hoffer, Nacson, Gunasekar, Srebro, The implicit bias of gradient descent on
    separable data, JMLR 2018, arXiv 1710.10345, abstract. Other tails: Nacson et al., arXiv
    1803.01905, abstract. Networks with all layers trained: Ji and Telgarsky, arXiv 1810.02032,
    abstract.""",
    criterion="""The slope of the log distance of directions against log log t is within .03 of -1
    for log t from 1e3 to 1e5; t L is the squared norm of w^ to 1e-4; t (-l') is alpha; the
    validation loss over log t is what w^ says to 2 %. Tails exp(-u^nu): slope at most
    -1 / max(1, nu) + .03. Networks of depth D: slope at most -1 / D + .05. At every seed, but for
    classes, where the mean slope counts: a point that is nearly a support vector puts its rate
    off. The control is a polynomial tail.""",
    method="""20 points in 6 dimensions, normal, labels by a random linear teacher, no draw left
    out. The flow is integrated in log t, all seeds in one batch, by Radau's method with exact
    Jacobians, from a normal start at t = 1 to log t = 1e5 (to 60 for the polynomial tail, where w
    grows as a power of t). w^ is solved by cvxpy and, with other code, by scikit-learn's SVC; for
    classes over all rows (e_y - e_k) x. Plain gradient descent is run beside the flow as far as
    it gets.""",
    reconstruction="""The paper's abstract states the direction, its rate, classes, other losses
    and one trained layer. All rates with their constants, the two slopes of nu = 2 and of
    networks, and the direction v of the polynomial tail are our own derivations, in the docstring
    of the module. Sizes and starts are ours. That validation accuracy improves meanwhile is a
    claim of existence: the table shows it, nothing judges it.""",
    scales={
        "smoke": Settings(2, ("logistic", "polynomial"), depths=(2,), steps=20_000, tolerance=1e-7),
        "cpu": Settings(10),
        "paper": Settings(50, classes=(3, 5), depths=(2, 3, 4), steps=2_000_000),
    },
    parts={
        "losses": Part(measure_losses, batched=True, cells=("losses",)),
        "classes": Part(measure_classes, batched=True, cells=("classes",)),
        "networks": Part(measure_networks, batched=True, cells=("depths",)),
        "last": Part(measure_last, batched=True),
        "descent": Part(measure_descent, batched=True),
    },
    judge=judge,
    show=show,
)
