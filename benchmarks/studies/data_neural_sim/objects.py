"""The objects, and their views for the NeRF: signed distances, sphere-traced.

An object is a body with four coloured panels, to +x, +y, -x and -y, and a cap. Two objects share a
body and differ in which panels are to +x and -x: from the front one looks as the other does from
behind, so what tells them apart depends on the pose.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange, repeat
from torch import Tensor

from benchmarks.studies.data_neural_sim.nerf import directions, position

Triple = tuple[float, float, float]
RED, GREEN, BLUE = (0.85, 0.2, 0.15), (0.2, 0.7, 0.25), (0.15, 0.3, 0.85)
YELLOW, GREY = (0.9, 0.8, 0.2), (0.55, 0.55, 0.55)
LIGHT = (0.3, 0.2, 0.93)  # of the views: fixed to the object
MARCH, TOUCH = 48, 2e-3  # steps, and how near is on the surface


@dataclass(frozen=True)
class Primitive:
    """An ellipsoid or a box: centre, half-axes, colour in [0, 1]."""

    kind: str
    centre: Triple
    half: Triple
    colour: Triple


def panelled(body: str, half: Triple, colours: tuple[Triple, ...], cap: str) -> list[Primitive]:
    """A grey body, four panels that stand out of its sides (+x, +y, -x, -y), and a cap."""
    x, y, z = half
    sides = [(x, 0.0), (0.0, y), (-x, 0.0), (0.0, -y)]
    panels = [
        Primitive(
            body,
            (a, b, 0.0),
            (0.12 if a else 0.75 * x, 0.75 * y if a else 0.12, 0.75 * z),
            colour,
        )
        for (a, b), colour in zip(sides, colours, strict=True)
    ]
    top = Primitive(cap, (0.0, 0.0, z + 0.12), (0.22, 0.22, 0.16), GREY)
    return [Primitive(body, (0.0, 0.0, 0.0), half, GREY), *panels, top]


FRONT, BACK = (RED, YELLOW, BLUE, GREEN), (BLUE, YELLOW, RED, GREEN)
OBJECTS = {
    "box-red": panelled("box", (0.45, 0.45, 0.5), FRONT, "ellipsoid"),
    "box-blue": panelled("box", (0.45, 0.45, 0.5), BACK, "ellipsoid"),
    "ball-red": panelled("ellipsoid", (0.6, 0.6, 0.55), FRONT, "box"),
    "ball-blue": panelled("ellipsoid", (0.6, 0.6, 0.55), BACK, "box"),
    "bar-red": panelled("box", (0.3, 0.65, 0.35), FRONT, "box"),
    "bar-blue": panelled("box", (0.3, 0.65, 0.35), BACK, "box"),
}


@dataclass(frozen=True)
class Views:
    """Posed pictures of each class: ``rgba`` (class, view, 4, size, size) in [0, 1], black where
    alpha is 0; ``azimuth`` and ``elevation`` (class, view), radians."""

    names: tuple[str, ...]
    rgba: Tensor
    azimuth: Tensor
    elevation: Tensor


def distance(primitive: Primitive, points: Tensor) -> Tensor:
    """Signed distance, exact for a box, a first-order bound for an ellipsoid: points (..., 3)."""
    offset = points - points.new_tensor(primitive.centre)
    half = points.new_tensor(primitive.half)
    if primitive.kind == "box":
        beyond = offset.abs() - half
        return beyond.clamp(min=0).norm(dim=-1) + beyond.amax(-1).clamp(max=0)
    scaled, slope = (offset / half).norm(dim=-1), (offset / half**2).norm(dim=-1)
    return scaled * (scaled - 1) / slope.clamp(min=1e-6)


def trace(shape: list[Primitive], origin: Tensor, towards: Tensor) -> Tensor:
    """RGBA (ray, 4) of rays (ray, 3) by sphere tracing, with Lambert's light from ``LIGHT``."""
    depth = torch.full_like(origin[:, :1], 2.0)
    for _ in range(MARCH):
        near = torch.stack([distance(one, origin + depth * towards) for one in shape])
        depth = depth + 0.9 * near.amin(0)[:, None].clamp(max=0.5)
    points = (origin + depth * towards).requires_grad_()
    with torch.enable_grad():
        near = torch.stack([distance(one, points) for one in shape])
        (normal,) = torch.autograd.grad(near.amin(0).sum(), points)
    hit = (near.amin(0) < TOUCH) & (depth[:, 0] < 6)
    colours = origin.new_tensor([one.colour for one in shape])[near.argmin(0)]
    light = origin.new_tensor(LIGHT)
    shade = 0.6 + 0.4 * (normal @ light / light.norm()).clamp(min=0)
    rgb = colours * shade[:, None]
    return torch.cat([rgb * hit[:, None], hit[:, None].to(rgb)], -1).detach()


def views(count: int, size: int, seed: int) -> Views:
    """``count`` views of each object, all around it, at elevations of 10 to 45 degrees."""
    rng = np.random.default_rng([seed, 1])
    shape = (len(OBJECTS), count)
    turn = (np.arange(count) + rng.uniform(size=shape)) * 2 * math.pi / count
    azimuth = torch.tensor(turn, dtype=torch.float32)
    elevation = torch.tensor(np.radians(rng.uniform(10, 45, shape)), dtype=torch.float32)
    towards = directions(azimuth, elevation, size)  # (class, view, pixel, 3)
    origin = repeat(position(azimuth, elevation), "c v x -> c v p x", p=size * size)
    flat = [rearrange(rays, "c v p x -> c (v p) x") for rays in (origin, towards)]
    with torch.no_grad():
        found = [trace(one, *rays) for one, *rays in zip(OBJECTS.values(), *flat, strict=True)]
    rgba = rearrange(torch.stack(found), "c (v h w) k -> c v k h w", h=size, w=size)
    return Views(tuple(OBJECTS), rgba, azimuth, elevation)
