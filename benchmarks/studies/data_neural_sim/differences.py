"""The implicit gradient against finite differences of whole trainings, in double precision.

The differences share what is random with the gradient, and the boxes; they render anew, train anew
to the minimum, and know nothing of Hessians or of derivatives of pictures.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import torch

from benchmarks.studies.data_neural_sim.detector import Detector
from benchmarks.studies.data_neural_sim.loop import Loop
from benchmarks.studies.data_neural_sim.poses import BINS

STEP = 1e-3  # of psi, to either side
SOLVE, CG = 300, 300


def check(loop: Loop, each: int, rng: np.random.Generator) -> dict[str, float]:
    """At random logits, with ``each`` pictures of a class: the ``cosine`` of both, and their
    distance as a share of the finite difference's norm, ``relative``."""
    target = loop.target
    if isinstance(target, Detector):
        features = copy.deepcopy(target.features).double()
        target = Detector(features, target.classes, target.cells * 4, target.ridge)
    fields = copy.deepcopy(loop.fields).double()
    exact = replace(loop, fields=fields, target=target, each=each, solve_steps=SOLVE, cg_steps=CG)
    drawn = exact.plan(rng).to(torch.float64)
    logits = torch.tensor(rng.normal(0, 1, BINS))
    found, theta, truth = exact.gradient(logits, drawn, exact.blank.double())
    differences = []
    for k in range(BINS):
        ends = []
        for step in (STEP, -STEP):
            moved = logits.clone()
            moved[k] += step
            ends.append(exact.value(moved, drawn, truth, theta))
        differences.append((ends[0] - ends[1]) / (2 * STEP))
    ours, plain = found.numpy(), np.array(differences)
    size = np.linalg.norm(plain)
    return {
        "cosine": float(ours @ plain / np.linalg.norm(ours) / size),
        "relative": float(np.linalg.norm(ours - plain) / size),
    }
