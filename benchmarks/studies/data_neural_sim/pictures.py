"""Training pictures from the NeRF's: portraits of one object, and scenes of several.

A ``Plan`` has all that is random in them but the poses, so that one plan makes the same pictures of
the same angles: a composition is a differentiable function of the NeRF's pictures.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from benchmarks.studies.data_neural_sim.poses import Noise, noise

TILE, SCENE = 24, 48  # pixels a side of portraits, and of scenes
MOST = 3  # objects of a scene


@dataclass(frozen=True)
class Plan:
    """``noise`` of the poses and ``elevation`` (class, picture); ``behind`` (picture, 3, S, S) and
    ``gain`` (picture, 1, 1, 1). Of scenes: ``places`` (object, 2, 3), from the scene's coordinates
    to the object's, both -1 to 1; and ``members`` (scene, MOST), objects, or their number for
    none; else both None."""

    noise: Noise
    elevation: Tensor
    behind: Tensor
    gain: Tensor
    places: Tensor | None
    members: Tensor | None

    def to(self, kind: torch.dtype) -> Plan:
        """The same plan with numbers of another kind."""
        return replace(
            self,
            noise=Noise(self.noise.gumbel.to(kind), self.noise.within.to(kind)),
            elevation=self.elevation.to(kind),
            behind=self.behind.to(kind),
            gain=self.gain.to(kind),
            places=None if self.places is None else self.places.to(kind),
        )


def plan(rng: np.random.Generator, classes: int, each: int, size: int, scenes: bool) -> Plan:
    """Of ``each`` pictures of each class; in scenes, of 1, 2, 3, 1, ... objects."""
    objects = classes * each
    places = members = None
    count = objects
    if scenes:
        counts: list[int] = []
        while sum(counts) < objects:
            counts.append(min(1 + len(counts) % MOST, objects - sum(counts)))
        count = len(counts)
        held, order = np.full((count, MOST), objects), iter(rng.permutation(objects))
        matrices = np.zeros((objects, 2, 3))
        for scene, many in enumerate(counts):
            for slot, quarter in enumerate(rng.permutation(4)[:many]):
                held[scene, slot] = item = next(order)
                centre = np.array([quarter % 2, quarter // 2]) - 0.5 + rng.uniform(-0.12, 0.12, 2)
                zoom = 1 / rng.uniform(0.33, 0.5)
                matrices[item] = np.column_stack([zoom * np.eye(2), -zoom * centre])
        places, members = torch.tensor(matrices, dtype=torch.float32), torch.tensor(held)
    elevation = np.radians(rng.uniform(10, 45, (classes, each)))
    coarse = torch.tensor(rng.normal(0, 0.12, (count, 3, 4, 4)))
    soft = F.interpolate(coarse, (size, size), mode="bilinear", align_corners=True)
    plain = torch.tensor(rng.uniform(0.1, 0.9, (count, 3, 1, 1)))
    grains = torch.tensor(rng.normal(0, 0.03, (count, 3, size, size)))
    gain = torch.tensor(rng.uniform(0.8, 1.2, (count, 1, 1, 1)))
    return Plan(
        noise(rng, (classes, each)),
        torch.tensor(elevation, dtype=torch.float32),
        (plain + soft + grains).float(),
        gain.float(),
        places,
        members,
    )


def layers(plan: Plan, rgba: Tensor) -> Tensor:
    """RGBA (class, picture, 4, s, s) each at its place, empty elsewhere: (object, 4, S, S)."""
    flat = rearrange(rgba, "c v k h w -> (c v) k h w")
    if plan.places is None:
        return flat
    shape = [len(flat), 4, *plan.behind.shape[-2:]]
    grid = F.affine_grid(plan.places, shape, align_corners=False)
    return F.grid_sample(flat, grid, align_corners=False)


def compose(plan: Plan, placed: Tensor) -> Tensor:
    """Pictures (picture, 3, S, S) of the layers over their backgrounds."""
    if plan.members is None:
        stacks = placed.unsqueeze(1)
    else:
        stacks = torch.cat([placed, torch.zeros_like(placed[:1])])[plan.members]
    found = plan.behind
    for layer in stacks.unbind(1):
        found = plan.gain * layer[:, :3] + (1 - layer[:, 3:]) * found
    return found


def contents(plan: Plan, placed: Tensor) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Boxes and labels of each scene, as ``Labelled`` has them: where alpha is above 1/2."""
    assert plan.members is not None
    each = plan.elevation.shape[1]
    solid = (placed[:, 3] > 0.5).numpy()
    boxes, labels = [], []
    for members in plan.members.tolist():
        found = []
        for item in (item for item in members if item < len(solid)):
            rows, columns = (np.flatnonzero(solid[item].any(axis)) for axis in (1, 0))
            found.append([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
        boxes.append(np.array(found, float))
        labels.append(np.array([item // each for item in members if item < len(solid)]))
    return boxes, labels
