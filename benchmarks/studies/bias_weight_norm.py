"""Weight normalisation on least squares: how near the minimum-norm solution it ends, and where not.

Least squares 1/2 |A x - y|^2 with more unknowns than rows, x = g w / |w|; x* = A^+ y is the
solution of least norm. Wu et al. (NeurIPS 2020, arXiv 1911.07956) study weight normalisation (WN:
gradient descent on w and g) and reparametrised projected gradient descent (rPGD: a step of w at
|w| = 1, back on to the sphere, a step of g). Write r = A g w - y and s = w.A'r; the steps of w and
g are eta and gamma. With |w| = 1, both are for small steps the flow

    dw/dt = -eta g (A'r - s w),    dg/dt = -gamma s.

**The limit (our derivation).** Let q be the part of w outside the rows of A. A'r has none, so
dq/dt = eta g s q = -(eta / gamma) g (dg/dt) q: with c = eta / gamma, q exp(c g^2 / 2) does not
change. Where the flow ends at A x = y, the part of x in the rows is x*, so p = |q|^2 and g^2 obey

    p = p0 exp(c (g0^2 - g^2)),    g^2 (1 - p) = |x*|^2,    |x - x*|^2 = g^2 p = g^2 - |x*|^2.

g^2 (1 - p) grows with g^2 from 0 without bound wherever p < 1: one root. Nothing is asked of A.
In WN eta is divided by |w|^2, which the flow keeps. Gradient descent on x from the same
x0 = g0 w0 keeps its part outside the rows: |x - x*|^2 = g0^2 p0.

**The region (our derivation).** If g0 < |x*|, g^2 must grow to |x*|^2 at least, and p is at most
p0 exp(-c (|x*|^2 - g0^2)): the error vanishes exponentially in c. If g0 > |x*|, g^2 cannot fall
below g0^2 + log(p0) / c, as p < 1, and no c brings the error below about (g0^2 - |x*|^2)^1/2.
Against gradient descent: put s0 = g0^2 and s1 = |x*|^2 + g0^2 p0, where both errors would be the
same. By monotony rPGD is nearer if and only if s1 exp(c (s0 - s1)) < s0, that is

    c > C if s1 > s0,    c < C if s1 < s0,    C = log(s1 / s0) / (s1 - s0).

In all of this |x*| = 1: c stands for c |x*|^2 and g0 for g0 / |x*|.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.integrate import solve_ivp
from scipy.optimize import brentq

from benchmarks import verdict
from benchmarks.common.figures import panels
from benchmarks.page import Picture, Table
from benchmarks.study import Found, Part, Row, Study

Array = NDArray[np.float64]
SOLVED = 1e-9  # the residual at which a run has arrived
NEAR = 1e-3  # an error that counts as close to the minimum-norm solution
LARGE, SMALL = 40, 0.5  # the claim's region: c at least, g0 at most
METHODS = {"rPGD": "rpgd", "WN": "wn"}


@dataclass(frozen=True)
class Settings:
    seeds: int
    ratios: tuple[float, ...]  # c |x*|^2
    starts: tuple[float, ...]  # g0 / |x*|
    rows: int = 10
    columns: int = 20
    step: float = 0.1  # of the faster of the two, and half of it


def problem(seed: int, rows: int, columns: int) -> tuple[Array, Array, Array]:
    """A (rows, columns) with singular values .5 to 1, x* of norm 1 in its rows, a unit w0."""
    draw = np.random.default_rng(seed)
    left = np.linalg.qr(draw.normal(size=(rows, rows)))[0]
    right = np.linalg.qr(draw.normal(size=(columns, rows)))[0]
    least = right @ draw.normal(size=rows)
    start = draw.normal(size=columns)
    matrix = left * np.linspace(0.5, 1, rows) @ right.T
    return matrix, least / np.linalg.norm(least), start / np.linalg.norm(start)


def limit(c: float, g0: float, p0: float) -> float:
    """g^2 in the limit of the flow, where |x*| = 1: the root of g^2 (1 - p) = 1."""

    def excess(square: float) -> float:
        return float(square * -np.expm1(np.log(p0) + c * (g0**2 - square)) - 1)

    low = max(0.0, g0**2 + np.log(p0) / c)
    return float(brentq(excess, low, max(1.0, g0**2) / (1 - p0), xtol=1e-15, rtol=1e-14))


def missed(c: float, g0: float, p0: float) -> float:
    """|g| q / q0 in the limit: of w0's part outside the rows of A, how much x keeps."""
    square = limit(c, g0, p0)
    return float(np.sqrt(square) * np.exp(c * (g0**2 - square) / 2))


def even(g0: Array, p0: Array) -> tuple[Array, NDArray[np.bool_]]:
    """C, the c at which rPGD ends as far from x* as gradient descent does, and whether more of it
    is better."""
    s0, s1 = g0**2, 1 + g0**2 * p0
    return np.log(s1 / s0) / (s1 - s0), s1 > s0


class Batch:
    """All seeds and cells at once: A (seeds, m, d), w (seeds, d, cells), g (seeds, cells)."""

    def __init__(self, settings: Settings, seeds: Sequence[int]) -> None:
        made = [problem(seed, settings.rows, settings.columns) for seed in seeds]
        self.A, self.least, w = (np.stack(parts) for parts in zip(*made, strict=True))
        self.y = np.einsum("smd,sd->sm", self.A, self.least)[..., None]
        self.cells = [(c, g0) for c in settings.ratios for g0 in settings.starts]
        c, g0 = np.array(self.cells, np.float64).T
        self.w = np.repeat(w[..., None], len(self.cells), axis=2)
        self.g = np.repeat(g0[None], len(seeds), axis=0)
        # The faster of both, at the largest g, has speed 1.
        self.gamma = 1 / np.maximum(c, 1) / np.maximum(g0, 1) ** 2
        self.eta = c * self.gamma

    def residual(self, x: Array) -> Array:
        found: Array = self.A @ x - self.y
        return found

    def pull(self, w: Array, g: Array) -> tuple[Array, Array]:
        """A'r (seeds, d, cells) and s = w.A'r (seeds, cells)."""
        found = self.A.transpose(0, 2, 1) @ self.residual(g[:, None] * w)
        return found, (w * found).sum(1)

    def flow(self) -> Array:
        """The limit x (seeds, d, cells) of the flow."""
        shape = (self.w.shape[0], self.w.shape[1] + 1, self.w.shape[2])

        def velocity(_: float, state: Array) -> Array:
            w, g = np.split(state.reshape(shape), [-1], axis=1)
            pull, along = self.pull(w, g[:, 0])
            turn = -self.eta * g * (pull - along[:, None] * w)
            return np.concatenate([turn, -(self.gamma * along)[:, None]], axis=1).ravel()

        def arrived(_: float, state: Array) -> float:
            w, g = np.split(state.reshape(shape), [-1], axis=1)
            return float(np.abs(self.residual(g * w)).max()) - SOLVED

        arrived.terminal = True  # type: ignore[attr-defined]
        start = np.concatenate([self.w, self.g[:, None]], axis=1).ravel()
        found = solve_ivp(
            velocity, (0, 1e6), start, "DOP853", events=arrived, rtol=1e-10, atol=1e-12
        )
        w, g = np.split(found.y[:, -1].reshape(shape), [-1], axis=1)
        x: Array = g * w
        return x

    def descend(self, method: str, step: float) -> Array:
        """Where ``gd``, ``rpgd`` or ``wn`` arrives, x (seeds, d, cells)."""
        w, g, norm = self.w, self.g, np.ones_like(self.g)
        eta, gamma = step * self.eta, step * self.gamma
        x = g[:, None] * w
        for passed in range(10**7):
            if passed % 100 == 0 and np.abs(self.residual(x)).max() < SOLVED:
                break
            if method == "gd":
                x = x - self.A.transpose(0, 2, 1) @ self.residual(x)
                continue
            pull, along = self.pull(w, g)
            if method == "rpgd":
                moved = w - (eta * g)[:, None] * pull
            else:
                moved = norm[:, None] * w - (eta * g / norm)[:, None] * (pull - along[:, None] * w)
            g = g - gamma * along
            norm = np.sqrt((moved**2).sum(1))
            w = moved / norm[:, None]
            x = g[:, None] * w
        return x


def measure(settings: Settings, seeds: Sequence[int]) -> Iterator[Row]:
    batch = Batch(settings, seeds)
    ends = {"flow": batch.flow(), "gd": batch.descend("gd", 1.0)}
    for method in METHODS.values():
        ends[method] = batch.descend(method, settings.step)
        ends[f"{method}_half"] = batch.descend(method, settings.step / 2)
    off = {name: x - batch.least[..., None] for name, x in ends.items()}
    for i, seed in enumerate(seeds):
        outside = batch.w[i, :, 0] - np.linalg.pinv(batch.A[i]) @ batch.A[i] @ batch.w[i, :, 0]
        p0 = float(outside @ outside)
        for j, (c, g0) in enumerate(batch.cells):
            truth, wrong = (missed(one, g0, p0) * outside for one in (c, c / 2))
            row = {name: np.linalg.norm(x[i, :, j]) for name, x in off.items()}
            row |= {"truth": np.linalg.norm(truth)}
            # g may have passed through 0 on its way: then x is -|g| w.
            for name, x in (("apart", truth), ("apart_control", wrong)):
                both = (off["flow"][i, :, j] - x, off["flow"][i, :, j] + x)
                row[name] = min(np.linalg.norm(one) for one in both)
            rounded = {name: float(f"{value:.10g}") for name, value in row.items()}
            yield {"seed": seed, "c": c, "g0": g0, "p0": p0} | rounded


def judge(found: Found, settings: Settings) -> list[verdict.Check]:
    rows = found["limits"]

    def most(values: pd.Series) -> pd.Series:
        return values.abs().groupby(rows.seed).max()

    def least(values: pd.Series, where: pd.Series) -> pd.Series:
        return values[where].groupby(rows.seed).min()

    c, more = even(rows.g0.to_numpy(), rows.p0.to_numpy())
    wrong = (rows.flow < rows.gd) != ((rows.c > c) == more)
    kept = rows.g0 * np.sqrt(rows.p0)
    claimed = {
        "all cells: the flow ends where the closed form says": (most(rows.apart), 1e-6),
        "all cells: GD keeps its part outside the rows of A": (most(rows.gd - kept), 1e-6),
        "all cells: the flow ends nearer x* than GD only where C says: 1 if not": (
            most(wrong.astype(float)),
            0,
        ),
    }
    for name, method in METHODS.items():
        whole, half = rows[method] - rows.truth, rows[f"{method}_half"] - rows.truth
        near = rows[method].where((rows.c >= LARGE) & (rows.g0 <= SMALL))
        claimed |= {
            f"all cells: error of {name} at step {settings.step:g} less closed form's": (
                most(whole),
                0.03,
            ),
            f"all cells: error of {name} extrapolated to step 0 less closed form's": (
                most(2 * half - whole),
                0.002,
            ),
            f"c >= {LARGE}, g0 <= {SMALL}: error of {name}": (most(near), NEAR),
        }
    controls = {
        "c <= 4, g0 = .05: error of rPGD over that of GD": (
            least(rows.rpgd / rows.gd, (rows.c <= 4) & (rows.g0 <= 0.05)),
            1,
        ),
        f"c >= {LARGE}, g0 = 1.5: error of rPGD": (
            least(rows.rpgd, (rows.c >= LARGE) & (rows.g0 == 1.5)),
            NEAR,
        ),
        f"g0 = {SMALL}: error of GD": (least(rows.gd, rows.g0 == SMALL), NEAR),
        "all cells: the flow ends where the closed form with half of c says": (
            most(rows.apart_control),
            1e-6,
        ),
    }
    return [
        verdict.every(name, values, below=bound, control=checks is controls)
        for checks in (claimed, controls)
        for name, (values, bound) in checks.items()
    ]


def show(found: Found, settings: Settings) -> Iterator[Table | Picture]:
    rows = found["limits"]
    columns = {"truth": "closed form", "flow": "flow", "rpgd": "rPGD", "wn": "WN", "gd": "GD"}
    cells = rows.assign(nearer=rows.flow < rows.gd).groupby(["c", "g0"])
    table = cells[list(columns)].median().rename(columns=columns)
    table["seeds with the flow nearer than GD"] = cells.nearer.mean().map("{:.0%}".format)
    yield Table("Error in units of the norm of x*, median over seeds", table.reset_index())
    yield Picture(
        "region",
        region(rows),
        "Left: the error of rPGD in the limit, by the closed form at p0 = 1/2, over c and g0, with "
        "|x*| = 1; circles: the flow's as measured, medians over seeds, on the same scale. The "
        "claim fails above and left of the dashed line, where the error is over .01. Right: the "
        "same error over gradient descent's: blue where rPGD is nearer x*, red where it is "
        "farther; the black line is C.",
    )
    yield Picture(
        "errors",
        errors(rows, settings.starts),
        "Error in the limit against c: closed form (median and range over seeds), the discrete "
        "methods (marks, medians), and gradient descent from the same x0 (dashed).",
    )


def region(rows: pd.DataFrame) -> Figure:
    figure, axes = panels(1, 2)
    c, g0 = np.geomspace(0.5, 200, 70), np.linspace(0.02, 1.7, 70)
    error = np.sqrt(0.5) * np.array([[missed(a, b, 0.5) for a in c] for b in g0])
    cells = rows.groupby(["c", "g0"])[["flow", "gd"]].median().reset_index()
    maps = (
        (error, cells.flow, LogNorm(1e-4, 1), "viridis"),
        (error / (g0 * np.sqrt(0.5))[:, None], cells.flow / cells.gd, LogNorm(0.01, 100), "RdBu_r"),
    )
    for axis, (drawn, measured, scale, colours) in zip(axes[0], maps, strict=True):
        mesh = axis.pcolormesh(c, g0, drawn, norm=scale, cmap=colours, rasterized=True)
        axis.scatter(cells.c, cells.g0, c=measured, norm=scale, cmap=colours, ec="black", s=36)
        figure.colorbar(mesh, ax=axis, extend="both")
        axis.set(xscale="log", xlabel="c", ylabel="g0", xlim=(c[0], c[-1]), ylim=(g0[0], g0[-1]))
    axes[0, 0].contour(c, g0, error, [0.01], colors="white", linestyles="dashed")
    axes[0, 1].plot(even(g0, np.full_like(g0, 0.5))[0], g0, color="black")
    axes[0, 0].set_title("error of rPGD")
    axes[0, 1].set_title("error of rPGD / error of GD")
    return figure


def errors(rows: pd.DataFrame, starts: Sequence[float]) -> Figure:
    starts = [g0 for g0 in starts if g0 in (0.05, 0.5, 1, 1.5)]
    figure, axes = panels(1, len(starts))
    for axis, g0 in zip(axes[0], starts, strict=True):
        cells = rows[rows.g0 == g0].clip(lower=1e-12).groupby("c")
        truth = cells.truth.agg(["median", "min", "max"])
        axis.plot(truth.index, truth["median"], label="closed form")
        axis.fill_between(truth.index, truth["min"], truth["max"], alpha=0.2, lw=0)
        for (name, method), mark in zip(METHODS.items(), "ox", strict=True):
            axis.plot(cells[method].median(), mark, label=name)
        axis.plot(cells.gd.median(), "--", color="grey", label="GD")
        axis.set(xscale="log", yscale="log", xlabel="c", title=f"g0 = {g0:g}", ylim=(1e-11, 3))
    axes[0, 0].set_ylabel("error")
    axes[0, 0].legend(frameon=False)
    return figure


STUDY = Study(
    claim="""Weight normalisation and rPGD on underdetermined least squares end close to the
    minimum-norm solution x* even from far away, where gradient descent does not: if g starts
    below the norm of x* and w moves much faster than g (c = eta / gamma large).""",
    source="""Wu, Dobriban, Ren, Wu, Li, Gunasekar, Ward, Liu, Implicit regularization and
    convergence for weight normalization, NeurIPS 2020, arXiv 1911.07956, abstract.""",
    criterion=f"""In units in which the norm of x* is 1: the limit of the flow is that of the
    closed form, the root of one equation; rPGD and WN come to it as their steps shrink; their
    error is at most {NEAR} where c >= {LARGE} and g0 <= {SMALL}. Outside this region the closed
    form says how far from x* they end, and whether gradient descent from the same point ends
    nearer: c against C. In every cell and at every seed.""",
    method="""A of 10 x 20 with singular values from .5 to 1; x* in its rows, the direction w0
    and A's singular vectors at random, no draw left out. The flow is integrated by DOP853 with
    tolerance 1e-10, and rPGD, WN and gradient descent are iterated, until the residual is below
    1e-9: all seeds and cells in one batch. The closed form is solved by brentq and shares no code
    with them.""",
    reconstruction="""The closed form of the limit, the region and C are our own derivations, in
    the docstring of the module. The paper's abstract says where WN and rPGD end; the form of
    their steps is from memory. The paper's linear rate of convergence and its two-phase variants
    are not judged.""",
    scales={
        "smoke": Settings(2, (1, 40), (0.05, 0.5, 1.5)),
        "cpu": Settings(10, (1, 4, 10, 40, 100), (0.05, 0.25, 0.5, 0.75, 1, 1.25, 1.5)),
        "paper": Settings(
            50, (1, 2, 4, 10, 20, 40, 100, 400), (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 1, 1.25, 1.5, 2)
        ),
    },
    parts={"limits": Part(measure, batched=True, cells=("ratios", "starts"))},
    judge=judge,
    show=show,
)
