"""The wild: the same objects in other pictures, by a renderer that shares no code with the NeRF or
with the renderer of its views.

Rays meet ellipsoids and boxes in closed form. Each picture has its own distance, height and roll of
the camera, lamp with a highlight, tint, grain of the surfaces, background (stripes, checks, a
gradient, blots) and noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.studies.data_neural_sim.objects import OBJECTS, Primitive
from benchmarks.studies.data_neural_sim.poses import BINS, WIDTH

OVER = 2  # samples a pixel and axis


@dataclass(frozen=True)
class Labelled:
    """Pictures (n, 3, size, size) in [0, 1] and what is in each: ``boxes`` (k, 4), x0, y0, x1, y1
    in pixels, and ``labels`` (k,); of portraits, one box each, the whole picture."""

    pictures: np.ndarray
    boxes: list[np.ndarray]
    labels: list[np.ndarray]


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector, axis=-1, keepdims=True)


def meet(one: Primitive, eye: np.ndarray, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Depth (ray,), infinite where the ray misses, and normal (ray, 3)."""
    half = np.asarray(one.half)
    start, run = (eye - one.centre) / half, rays / half  # where the primitive is the unit one
    with np.errstate(divide="ignore", invalid="ignore"):
        if one.kind == "box":
            first, second = (-1 - start) / run, (1 - start) / run
            enter = np.minimum(first, second)
            depth, leave = enter.max(-1), np.maximum(first, second).min(-1)
            depth = np.where((depth <= leave) & (depth > 0), depth, np.inf)
            normal = -np.sign(rays) * (enter == enter.max(-1, keepdims=True))
            return depth, normal
        a, b, c = (run**2).sum(-1), run @ start, start @ start - 1
        depth = (-b - np.sqrt(b**2 - a * c)) / a
        depth = np.where(depth > 0, depth, np.inf)  # NaN too
        at = start + np.where(np.isinf(depth), 0, depth)[:, None] * run
    return depth, unit(at / half + 1e-12)


def cut_out(name: str, azimuth: float, size: int, rng: np.random.Generator) -> np.ndarray:
    """RGBA (size, size, 4), colour times alpha, of one object seen from ``azimuth``."""
    away, height, roll = rng.uniform(4.5, 7), np.radians(rng.uniform(12, 42)), rng.normal(0, 0.06)
    ahead = -np.array([np.cos(height) * np.cos(azimuth), np.cos(height) * np.sin(azimuth),
                       np.sin(height)])  # fmt: skip
    level = unit(np.cross(ahead, [0, 0, 1]))
    above = np.cross(level, ahead)
    right = np.cos(roll) * level + np.sin(roll) * above
    down = np.sin(roll) * level - np.cos(roll) * above
    line = (np.arange(size * OVER) + 0.5) / (size * OVER) * 2 - 1
    x, y = np.meshgrid(line, line)
    zoom = rng.uniform(0.9, 1.05) / away  # the object's ball about fills the picture
    rays = unit(ahead + zoom * (x.reshape(-1, 1) * right + y.reshape(-1, 1) * down))
    eye = -away * ahead
    met = [meet(one, eye, rays) for one in OBJECTS[name]]
    depths = np.stack([depth for depth, _ in met])
    first, hit = depths.argmin(0), np.isfinite(depths.min(0))
    each = np.arange(len(rays))
    normal = np.stack([one for _, one in met])[first, each]
    points = eye + np.where(hit, depths.min(0), 0)[:, None] * rays
    lamp = unit(-ahead + rng.normal(0, 0.5, 3) + [0, 0, 0.4])
    facing = np.clip(normal @ lamp, 0, 1)
    mirrored = 2 * (normal @ lamp)[:, None] * normal - lamp
    shine = np.clip((mirrored * -rays).sum(-1), 0, 1) ** 12
    grain = 1 + 0.12 * np.sin(points @ rng.normal(0, 7, 3) + rng.uniform(0, 6))
    colour = np.array([one.colour for one in OBJECTS[name]])[first] * grain[:, None]
    tint = rng.uniform(0.85, 1.15, 3)
    rgb = colour * tint * (0.45 + 0.65 * facing)[:, None] + 0.25 * shine[:, None]
    rgba = np.concatenate([np.clip(rgb, 0, 1), np.ones((len(rays), 1))], -1) * hit[:, None]
    return rgba.reshape(size, OVER, size, OVER, 4).mean((1, 3))


def background(size: int, rng: np.random.Generator) -> np.ndarray:
    """(size, size, 3): stripes or checks of two colours, a gradient, blots."""
    y, x = np.mgrid[:size, :size] / size
    turn, pitch = rng.uniform(0, np.pi), rng.uniform(3, 12)
    waves = [np.sin(pitch * (np.cos(turn + q) * x + np.sin(turn + q) * y)) for q in (0, np.pi / 2)]
    pattern = waves[0] * (waves[1] if rng.random() < 0.5 else 1) > 0
    one, two = rng.uniform(0.15, 0.85, (2, 3))
    found = np.where(pattern[..., None], one, 0.6 * one + 0.4 * two)
    found = found + 0.2 * (np.cos(turn) * x + np.sin(turn) * y - 0.5)[..., None]
    for _ in range(rng.integers(3)):
        centre, wide = rng.uniform(0, 1, 2), rng.uniform(0.03, 0.12)
        blot = np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * wide**2))[..., None]
        found = found * (1 - 0.7 * blot) + 0.7 * blot * rng.uniform(0, 1, 3)
    return found


def finish(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(size, size, 3) -> (3, size, size), with the sensor's gain and noise."""
    noisy = picture * rng.uniform(0.85, 1.1) + rng.normal(0, 0.03, picture.shape)
    return np.clip(noisy, 0, 1).transpose(2, 0, 1).astype(np.float32)


def seen_from(shares: np.ndarray, rng: np.random.Generator) -> float:
    return float((rng.choice(BINS, p=shares) + rng.uniform()) * WIDTH)


def portraits(count: int, size: int, shares: np.ndarray, rng: np.random.Generator) -> Labelled:
    """``count`` pictures of one object each, in turn; poses by ``shares`` (BINS,)."""
    names = list(OBJECTS)
    pictures = []
    for n in range(count):
        rgba = cut_out(names[n % len(names)], seen_from(shares, rng), size, rng)
        behind = background(size, rng)
        pictures.append(finish(rgba[..., :3] + (1 - rgba[..., 3:]) * behind, rng))
    labels = list(np.arange(count)[:, None] % len(names))
    return Labelled(np.stack(pictures), [np.array([[0.0, 0, size, size]])] * count, labels)


def scenes(count: int, size: int, shares: np.ndarray, rng: np.random.Generator) -> Labelled:
    """``count`` scenes of one to three objects, a quarter of the scene for each."""
    names = list(OBJECTS)
    pictures, boxes, labels = [], [], []
    for _ in range(count):
        canvas = background(size, rng)
        quarters = rng.permutation(4)[: rng.integers(1, 4)]
        inside = rng.integers(len(names), size=len(quarters))
        found = []
        for quarter, label in zip(quarters, inside, strict=True):
            side = int(rng.integers(size // 3, size // 2 + 1))
            room = size // 2 - side + 3
            corner = np.array([quarter % 2, quarter // 2]) * (size // 2) + rng.integers(
                room, size=2
            )
            x, y = np.clip(corner - 1, 0, size - side)
            rgba = cut_out(names[label], seen_from(shares, rng), side, rng)
            part = canvas[y : y + side, x : x + side]
            part[:] = rgba[..., :3] + (1 - rgba[..., 3:]) * part
            rows, columns = (np.flatnonzero((rgba[..., 3] > 0.5).any(axis)) for axis in (1, 0))
            found.append([x + columns[0], y + rows[0], x + columns[-1] + 1, y + rows[-1] + 1])
        pictures.append(finish(canvas, rng))
        boxes.append(np.array(found, float))
        labels.append(inside)
    return Labelled(np.stack(pictures), boxes, labels)
