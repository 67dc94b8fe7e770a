"""What linear convolutional networks prefer: the least weight norm that makes a linear predictor.

Two layers, circular convolution, R input channels, kernels of size K, C output channels, inputs
x of shape (D, R):

    f(x) = sum_c sum_d V_c[d] sum_{r,k} U_rc[k] x[d+k, r] = <W, x>,
    W[j, r] = sum_c sum_{d+k=j mod D} V_c[d] U_rc[k]
    R_{K,C}(W) = min |U|^2 + |V|^2 over weights that make W

Jagadeesan, Razenshteyn, Gunasekar, "Inductive Bias of Multi-Channel Linear Convolutional Networks
with Bounded Weight Norm", arXiv 2102.12238. What follows is our derivation.

Truth, a semidefinite program: stack a_c = (U_.c, V_c), of size KR + D. W is linear in the
off-diagonal block of Z = sum_c a_c a_c', and the cost is tr Z. Without the bound C on the rank
of Z >= 0 that is R_K(W) = min tr Z, at most R_{K,C}, and equal to it for C >= KR + D.

R = 1: one channel is enough. By Fejer and Riesz there is one real kernel u of size K with
|u^|^2 = sum_c |U_c^|^2 at all frequencies, so |u|^2 = sum_c |U_c|^2; and v^ = W^ / (sqrt(D) u^)
has |v^|^2 <= sum_c |V_c^|^2 by Cauchy and Schwarz. In the same way R channels are enough for R
input channels, by the matrix version of the theorem: sum_c U_.c^ U_.c^* has a factor of R kernels.

Scaling, with the unitary Fourier transform, under which W^_d = sqrt(D) sum_c V_c^[d] U_.c^[d]:
K = D: frequencies part. At each, sum_c |V_c^|^2 + |U_.c^|^2 >= 2 |W^_d|_2 / sqrt(D), with equality
for one channel: (2/sqrt(D)) sum_d |W^_d|_2. K = 1: W = V U', of rank C at most:
2 |W|_nuclear for C >= min(R, D), and no weights at all for a smaller C.
For R = 1 that is 2 |W|_2: K = 1 prefers what the support vector machine does.

Descent: on separable data its direction tends to a stationary point of "the least weight norm for
a margin" (Lyu, Li, arXiv 1906.05890). Its value would be R* = min R_K(W) over W of margin 1, a
program too; that descent comes near it is not proved, but measured: R_K(W)/R* as the margin grows.
"""

from __future__ import annotations

from itertools import product

import pandas as pd

from benchmarks import verdict
from benchmarks.studies.bias_linear_conv.induced_norm import Shape
from benchmarks.studies.bias_linear_conv.measured import (
    AGREE,
    NEAR,
    PIXELS,
    Settings,
    linear_nets,
    margins,
    norms,
    ratios,
    relu_nets,
    truths,
    weights,
)
from benchmarks.studies.bias_linear_conv.shown import show
from benchmarks.study import Found, Part, Study
from benchmarks.verdict import Check


def judge(found: Found, settings: Settings) -> list[Check]:
    truth, table, nets = found["truths"], norms(found), ratios(found)
    closed = (truth.closed / truth.sdp - 1).abs().groupby(truth.seed).max()
    enough = table[table.enough]
    scarce = table[(table.R > 1) & (table.K == 2) & (table.C == 2)]
    wide = nets[nets.C.eq(max(settings.channels))]
    svm = nets[nets.K == PIXELS].groupby("seed").svm.max()

    def worst(part: pd.DataFrame) -> pd.Series:
        return part.excess.abs().groupby(part.seed).max()

    return [
        verdict.every("closed forms at K = 1 and K = D: off the program by", closed, below=AGREE),
        verdict.every(
            "R = 1, any K and C: least norm over weights off the program by",
            worst(enough[enough.R == 1]), below=AGREE,
        ),
        verdict.every(
            "R = 3, C >= 3 or K = D: least norm over weights off the program by",
            worst(enough[enough.R > 1]), below=AGREE,
        ),
        verdict.every(
            "the same for R = 3, K = 2, C = 2, where C is too small",
            worst(scarce), below=AGREE, control=True,
        ),
        verdict.every(
            "least margin of all that gradient descent reached",
            nets.groupby("seed").margin.min(), above=settings.levels[-1],
        ),
        verdict.every(
            f"R_K(W)/R* of gradient descent, C = {max(settings.channels)}, worst task and K",
            wide.groupby("seed").ratio.max(), below=NEAR,
        ),
        verdict.every(
            "the same of the l2 support vector machine, K = D, worst task",
            svm, below=NEAR, control=True,
        ),
    ]  # fmt: skip


SINGLE = tuple(Shape(1, 8, k, c) for k, c in product((1, 2, 3, 4, 6, 8), (1, 2, 4)))
# Fewer channels can make no W, or only some, with these K: as many as are needed, and more.
MULTI = tuple(
    Shape(3, 6, k, c)
    for k, c in ((1, 3), (1, 4), (2, 2), (2, 3), (3, 2), (3, 3), (4, 2), (4, 3), (6, 1), (6, 2))
)
SMALL = tuple(shape for shape in (*SINGLE, *MULTI) if shape.channels < 4)
LEVELS, KERNELS, ENDS = (10.0, 30.0, 100.0, 300.0, 1000.0), (1, 2, 4, 8, PIXELS), (1, 4, PIXELS)

STUDY = Study(
    claim="""
    The least squared weight norm that makes a linear predictor in a two-layer linear convolutional
    network is the value of a semidefinite program. With one input channel it does not depend on
    the number C of output channels; with several it does, until C is large enough. It is twice
    the nuclear norm for kernels of size 1, and a group norm of the Fourier coefficients for
    kernels as long as the input. Gradient descent on real data finds the predictor with the least
    such norm for its margin.
    """,
    source="""
    Jagadeesan, Razenshteyn, Gunasekar, "Inductive Bias of Multi-Channel Linear Convolutional
    Networks with Bounded Weight Norm", arXiv 2102.12238, abstract.
    """,
    criterion=f"""
    On every seed: closed forms, program and direct minimisation over weights agree to {AGREE:g},
    relative, wherever C is large enough; and at a margin of {LEVELS[-1]:g} the norm R_K(W) of what
    gradient descent found, with 4 output channels, is at most {NEAR} times the least norm R* of a
    predictor of that margin, for every task and K. Controls: with 3 input channels, K = 2 and C = 2
    the norm is not the program's; the l2 support vector machine's predictor is not near R* for K =
    D. With one output channel descent is reported, not judged: there it was seen, on seeds 0 to 2,
    to end above that in some cells.
    """,
    method="""
    Gaussian predictors W with R input channels of length D; the program by CLARABEL; the least
    weights by an augmented Lagrangian with Newton steps from several random starts, the best of
    which counts. Cells in which too few channels can make no W are left out. Descent: 60 examples
    of two digits of scikit-learn, pooled to 4x4, centred, as sequences of D = 16; log of the
    exponential loss, steps as large as the curvature allows, until the margin is at its last level;
    one output channel too. The same nets with a ReLU are reported, since the theory says nothing of
    them.
    """,
    reconstruction="""
    We know the claims from the paper's abstract. The derivation of the program, of the scaling of
    the closed forms (the paper may normalise otherwise) and of the sufficiency of one channel is
    ours, at the top of the study's file; so are data, sizes and thresholds, and the ReLU part,
    for which the paper used MNIST and CIFAR-10.
    """,
    scales={
        "smoke": Settings(2, SMALL, 2, (10.0, 300.0), (1, PIXELS), (1, PIXELS), (10.0,)),
        "cpu": Settings(10, (*SINGLE, *MULTI), 6, LEVELS, KERNELS, ENDS, (10.0, 50.0)),
        "paper": Settings(20, (*SINGLE, *MULTI), 12, LEVELS, KERNELS, KERNELS, (10.0, 300.0)),
    },
    parts={
        "truths": Part(truths),
        "margins": Part(margins),
        "weights": Part(weights, batched=True, cells=("shapes",)),
        "linear": Part(linear_nets, batched=True, cells=("tasks", "kernels", "channels")),
        "relu": Part(relu_nets, batched=True, cells=("tasks", "relu_kernels", "relu_channels")),
    },
    judge=judge,
    show=show,
)
