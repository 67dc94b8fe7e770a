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

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import softplus

from benchmarks import verdict
from benchmarks.common.figures import COLOURS, panels, spread
from benchmarks.common.hard_margin import by_svc, hard_margin
from benchmarks.common.log_time import cross_entropy, flow, linear, network, product
from benchmarks.page import Picture, Table
from benchmarks.study import Found, Part, Row, Study

Array = NDArray[np.float64]
LATE = (1e3, 1e5)  # the log times between which slopes are taken
TAUS = np.r_[0, np.geomspace(0.1, LATE[1], 37)]  # t from 1
HEAVY = 3.0  # k of the polynomial tail
HEAVY_TAUS = np.linspace(0, 60, len(TAUS))  # w is e^15 at its end
# log of -1 / l'(u). exp(-softplus(u)) is the slope of the logistic loss; the others bend like it.
TAILS: dict[str, Callable[[Tensor], Tensor]] = {
    "exponential": lambda u: u,
    "logistic": softplus,
    "nu=1/2": lambda u: softplus(u) ** 0.5,
    "nu=2": lambda u: softplus(u) ** 2,
    "polynomial": lambda u: HEAVY * torch.log1p(softplus(u)),
}
EXPONENTIAL = ("exponential", "logistic")
SLOPES = {"nu=1/2": -1.0, "nu=2": -0.5}  # at most


@dataclass(frozen=True)
class Settings:
    seeds: int
    losses: tuple[str, ...] = tuple(TAILS)
    classes: tuple[int, ...] = (3,)
    depths: tuple[int, ...] = (2, 3)
    points: int = 20
    dim: int = 6
    width: int = 4
    fresh: int = 2000  # points to validate on
    steps: int = 200_000  # of plain gradient descent
    step: float = 0.05
    tolerance: float = 1e-9  # of the flow


def points(seed: int, settings: Settings, classes: int) -> tuple[Array, Array]:
    """The rows z (points, classes - 1, classes * dim), (e_y - e_k) (x) x for all k but y, of normal
    x and labels y by a random linear teacher, and this teacher (classes, dim).

    x is rounded to 1/64, so that SVC's kernel, in single precision, is exact.
    """
    draw = np.random.default_rng(seed)
    teacher = draw.normal(size=(classes, settings.dim))
    x = np.round(draw.normal(size=(settings.points, settings.dim)) * 64) / 64
    each = np.eye(classes)
    labels = (x @ teacher.T).argmax(1)
    apart = np.stack([each[y] - np.delete(each, y, axis=0) for y in labels])
    return np.einsum("nkc,nd->nkcd", apart, x).reshape(*apart.shape[:2], -1), teacher


def binary(seed: int, settings: Settings) -> tuple[Array, Array]:
    """Rows y x of a seed, (points, dim) to train on and (fresh, dim) to validate on."""
    z, teacher = points(seed, settings, classes=2)
    fresh = np.random.default_rng([seed, 1]).normal(size=(settings.fresh, settings.dim))
    sides = np.sign(fresh @ (teacher[1] - teacher[0]))
    return z[:, 0, settings.dim :], fresh * sides[:, None]


def heavy_direction(z: Array, v: Array) -> Array:
    """Where the polynomial tail leads: the minimum of |v|^2 / (2 (k + 1)) + sum (z_n.v)^(1 - k) /
    (k - 1), by Newton's method from a ``v`` with z v > 0."""
    for _ in range(50):
        u = z @ v
        gradient = v / (HEAVY + 1) - u**-HEAVY @ z
        hessian = np.eye(len(v)) / (HEAVY + 1) + (z.T * HEAVY * u ** (-HEAVY - 1)) @ z
        step = np.linalg.solve(hessian, gradient)
        while (z @ (v - step)).min() <= 0:
            step /= 2
        v = v - step
    return v


def unit(w: Array) -> Array:
    found: Array = w / np.linalg.norm(w, axis=-1, keepdims=True)
    return found


def starts(seeds: Sequence[int], size: int, scale: float = 1.0) -> Array:
    return scale * np.stack([np.random.default_rng([seed, 2]).normal(size=size) for seed in seeds])


def slope(values: Array) -> float:
    """Of log values against log tau, between the log times ``LATE``."""
    i, j = (int(np.abs(TAUS - late).argmin()) for late in LATE)
    return float(np.log(values[j] / values[i]) / np.log(TAUS[j] / TAUS[i]))


def approach(w: Array, z: Array, best: Array) -> Row:
    """How w (taus, dim) comes to the direction and to the margin of ``best``."""
    distance = np.linalg.norm(unit(w) - unit(best), axis=1)
    gap = 1 / np.linalg.norm(best) - (unit(w) @ z.T).min(1)
    return {
        "last": distance[-1],
        "slope": slope(distance),
        "gap": slope(gap),
        "distance": [float(f"{one:.4g}") for one in distance],
    }


def support(alpha: Array) -> int:
    return int((alpha > 1e-6 * alpha.max()).sum())


def measure_losses(settings: Settings, seeds: Sequence[int]) -> Iterator[Row]:
    z, fresh = (np.stack(made) for made in zip(*(binary(s, settings) for s in seeds), strict=True))
    truths = [hard_margin(one) for one in z]
    for loss in settings.losses:
        taus = HEAVY_TAUS if loss == "polynomial" else TAUS
        w = flow(linear(TAILS[loss]), starts(seeds, settings.dim), z, taus, settings.tolerance)
        for i, seed in enumerate(seeds):
            best, alpha = truths[i]
            row = {"seed": seed, "loss": loss, "support": support(alpha)}
            row |= approach(w[:, i], z[i], best)
            row["solvers"] = np.linalg.norm(best - by_svc(z[i])) / np.linalg.norm(best)
            if loss in EXPONENTIAL:
                scaled = np.exp(taus[-1] - z[i] @ w[-1, i])  # t l and -t l' alike, this late
                row["alpha"] = np.abs(scaled - alpha).max() / alpha.max()
                row["total"] = scaled.sum() / (best @ best)
            if loss == "logistic":
                row |= validation(w[:, i], fresh[i], best)
            if loss == "polynomial":
                row["heavy"] = np.linalg.norm(unit(w[-1, i]) - unit(heavy_direction(z[i], best)))
                row |= {"slope": None, "gap": None}  # of other times
            yield row


def validation(w: Array, fresh: Array, best: Array) -> Row:
    """On fresh points, as w (taus, dim) goes on: the logistic loss over what w^ says, log t times
    the mean of max(0, -z.w^), and the share that is wrong."""
    u = w @ fresh.T
    loss, wrong = np.logaddexp(0, -u).mean(1), (u < 0).mean(1)
    ratio = loss[1:] / (TAUS[1:] * np.maximum(0, -fresh @ best).mean())
    return {
        "ratio": ratio[-1],
        "ratios": [float(f"{one:.4g}") for one in ratio],
        "lowest": TAUS[loss.argmin()],
        "wrong_at_lowest": wrong[loss.argmin()],
        "wrong_last": wrong[-1],
    }


def measure_classes(settings: Settings, seeds: Sequence[int]) -> Iterator[Row]:
    for classes in settings.classes:
        z = np.stack([points(seed, settings, classes)[0] for seed in seeds])
        w = flow(cross_entropy, starts(seeds, z.shape[-1]), z, TAUS, settings.tolerance)
        for i, seed in enumerate(seeds):
            flat = z[i].reshape(-1, z.shape[-1])
            best, alpha = hard_margin(flat)
            scaled = np.exp(TAUS[-1] - flat @ w[-1, i])
            yield {
                "seed": seed,
                "classes": classes,
                **approach(w[:, i], flat, best),
                "solvers": np.linalg.norm(best - by_svc(flat)) / np.linalg.norm(best),
                "alpha": np.abs(scaled - alpha).max() / alpha.max(),
            }


def measure_networks(settings: Settings, seeds: Sequence[int]) -> Iterator[Row]:
    z = np.stack([binary(seed, settings)[0] for seed in seeds])
    width, dim = settings.width, settings.dim
    for depth in settings.depths:
        size = width * (dim + 1 + (depth - 2) * width)
        layers = flow(network(depth, width), starts(seeds, size, 0.5), z, TAUS, settings.tolerance)
        flat = torch.from_numpy(layers.reshape(-1, size))
        b = product(flat, depth, width).numpy().reshape(*layers.shape[:2], dim)
        for i, seed in enumerate(seeds):
            best, alpha = hard_margin(z[i])
            norm = np.linalg.norm(best)
            loss = np.exp(TAUS[-1] - z[i] @ b[-1, i]).sum()
            claimed = norm**2 / (depth * (norm * TAUS[-1]) ** (2 - 2 / depth))
            row = {"seed": seed, "depth": depth, "support": support(alpha), "total": loss / claimed}
            yield row | approach(b[:, i], z[i], best)


def measure_last(settings: Settings, seeds: Sequence[int]) -> Iterator[Row]:
    """Only the last layer trained, over a fixed random M of small whole numbers."""
    z = np.stack([binary(seed, settings)[0] for seed in seeds])
    shape = (settings.dim + 2, settings.dim)
    fixed = np.stack([np.random.default_rng([s, 3]).integers(-2, 3, size=shape) for s in seeds])
    features = z @ fixed.transpose(0, 2, 1)
    v = flow(linear(TAILS["logistic"]), starts(seeds, shape[0]), features, TAUS, settings.tolerance)
    for i, seed in enumerate(seeds):
        inputs = approach(v[:, i] @ fixed[i], z[i], hard_margin(z[i])[0])
        own = approach(v[:, i], features[i], hard_margin(features[i])[0])
        yield {"seed": seed, **own, "inputs": inputs["last"]}


def measure_descent(settings: Settings, seeds: Sequence[int]) -> Iterator[Row]:
    """Plain gradient descent on the logistic loss beside its flow, which is at t = 1 at step 0."""
    z = np.stack([binary(seed, settings)[0] for seed in seeds])
    w = starts(seeds, settings.dim)
    times = [t for t in (10, 100, 1_000, 10_000, 100_000) if t <= settings.steps * settings.step]
    taus = np.log([1, *(1 + t for t in times)])
    flowed = flow(linear(TAILS["logistic"]), w, z, taus, settings.tolerance)
    stops = {round(t / settings.step): i for i, t in enumerate(times, 1)}
    for step in range(1, max(stops) + 1):
        u = z @ w[..., None]
        w = w + settings.step * (z / (1 + np.exp(u))).sum(1)
        if step in stops:
            i = stops[step]
            apart = np.linalg.norm(unit(w) - unit(flowed[i]), axis=1)
            for seed, one in zip(seeds, apart, strict=True):
                yield {"seed": seed, "t": times[i - 1], "apart": one}


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


def show(found: Found, settings: Settings) -> Iterator[Table | Picture]:
    losses, networks, last = found["losses"], found["networks"], found["last"]
    classes = found["classes"]
    names = classes.classes.map("cross-entropy, {} classes".format)
    across = np.where(networks.support == settings.dim, "yes", "no")
    yield Table(
        "Distance from w^", slopes(pd.concat([losses, classes.assign(loss=names)]), ["loss"])
    )
    yield Table(
        "Distance from w^ in deep linear networks, by whether the support vectors span the space",
        slopes(networks.assign(spanned=across), ["depth", "spanned"]),
    )
    yield Table(
        "The last layer v alone, over a fixed matrix M: distances at the end",
        last[["seed", "last", "inputs"]].rename(
            columns={"last": "v from w^ of the features", "inputs": "M'v from w^ of the inputs"}
        ),
    )
    yield Table(
        "Fresh points: where the logistic loss is lowest, share wrong there and at the end",
        losses.dropna(subset="ratio")[["seed", "lowest", "wrong_at_lowest", "wrong_last"]].rename(
            columns={"lowest": "log t", "wrong_at_lowest": "there", "wrong_last": "at the end"}
        ),
    )
    apart = found["descent"].groupby("t").apart.agg(["median", "max"]).reset_index()
    yield Table("Plain gradient descent: distance from its flow's direction", apart)
    yield Picture("rates", draw(found, settings), CAPTION)


def slopes(rows: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    names = {"seed": "seeds", "last": "at the end, median", "slope": "slope, median"}
    cells = rows.groupby(by, sort=False)
    table = cells.agg({"seed": "size", "last": "median", "slope": "median"}).rename(columns=names)
    table["slope, range"] = [
        f"{cell.min():.3f} .. {cell.max():.3f}" if cell.notna().any() else ""
        for _, cell in cells.slope
    ]
    return table.reset_index()


CAPTION = (
    "Against log t; grey is what a million steps of plain descent reach. Left: the distance of w "
    "from w^ in direction, by loss, median and range over seeds. Middle: the same in deep linear "
    "networks, a line a seed, dashed where the support vectors do not span the space. Right: the "
    "logistic loss on fresh points over what w^ says of it, a line a seed."
)


def draw(found: Found, settings: Settings) -> Figure:
    figure, axes = panels(1, 3)
    left, middle, right = axes[0]
    for loss, rows in found["losses"].groupby("loss", sort=False):
        taus = HEAVY_TAUS if loss == "polynomial" else TAUS
        spread(left, taus[1:], np.stack(rows.distance)[:, 1:], str(loss))
    for colour, (depth, rows) in zip(COLOURS, found["networks"].groupby("depth"), strict=False):
        middle.plot([], color=colour, label=f"depth {depth}")
        for row in rows.itertuples():
            line = "-" if row.support == settings.dim else "--"
            middle.plot(TAUS[1:], row.distance[1:], line, color=colour, lw=0.8)
    for ratios in found["losses"].ratios.dropna():
        right.plot(TAUS[1:], ratios, color=COLOURS[0], lw=0.8)
    right.axhline(1, color="black", ls=":", lw=0.8)
    titles = ("linear", "deep linear networks", "fresh points")
    for axis, title in zip(axes[0], titles, strict=True):
        axis.axvspan(TAUS[1], np.log(1e6), color="grey", alpha=0.15, lw=0)
        axis.set(xscale="log", yscale="log", xlabel="log t", title=title)
    left.set_ylabel("distance from w^")
    right.set_ylabel("loss over what w^ says")
    for axis in (left, middle):
        axis.legend(frameon=False, fontsize="small")
    return figure


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
