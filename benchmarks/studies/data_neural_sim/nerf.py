"""A small NeRF of each class (Mildenhall et al. 2020, arXiv 2003.08934), all in one batch.

A field maps a point of the unit ball to density and colour: positional encoding, two hidden layers.
A pixel is the quadrature of the volume rendering integral along its ray (section 4 there):
alpha_i = 1 - exp(-sigma_i delta_i), colour = sum_i T_i alpha_i c_i, T_i = prod_{j<i} (1 - alpha_j).
There is no direction of view in the field, and one set of samples instead of two.

The camera is ``RADIUS`` from the centre and looks at it, so how a pixel's ray meets the unit ball
does not depend on the pose, and a picture depends on the pose through (azimuth, elevation) alone.
"""

from __future__ import annotations

import math
import warnings
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from einops import einsum, rearrange, reduce
from torch import Tensor, nn
from torch.autograd.forward_ad import dual_level, make_dual, unpack_dual
from torch.nn import functional as F

if TYPE_CHECKING:
    from benchmarks.studies.data_neural_sim.objects import Views

RADIUS = 4.0
HALF = 1 / math.sqrt(RADIUS**2 - 1)  # tangent of half the angle of view: the unit ball fills it
OCTAVES = 4
CHUNK = 4  # pictures of each class at a time


def position(azimuth: Tensor, elevation: Tensor) -> Tensor:
    """Of the camera: (...) in radians -> (..., 3)."""
    flat = RADIUS * elevation.cos()
    x, y = flat * azimuth.cos(), flat * azimuth.sin()
    return torch.stack([x, y, RADIUS * elevation.sin()], -1)


def directions(azimuth: Tensor, elevation: Tensor, size: int) -> Tensor:
    """Unit vectors through the pixels, row by row from the top left: (..., pixel, 3)."""
    zero = torch.zeros_like(azimuth)
    right = torch.stack([-azimuth.sin(), azimuth.cos(), zero], -1)
    forward = -position(azimuth, elevation) / RADIUS
    up = torch.linalg.cross(right, forward)
    grid = HALF * (2 * (torch.arange(size).to(azimuth) + 0.5) / size - 1)
    v, u = torch.meshgrid(-grid, grid, indexing="ij")
    across = einsum(u.flatten(), right, "p, ... x -> ... p x")
    along = einsum(v.flatten(), up, "p, ... x -> ... p x")
    return F.normalize(forward.unsqueeze(-2) + across + along, dim=-1)


def encode(points: Tensor) -> Tensor:
    """Points (..., 3) with sines and cosines of 2^k pi x: (..., 3 + 6 OCTAVES)."""
    waves = math.pi * 2.0 ** torch.arange(OCTAVES).to(points)
    phase = rearrange(points.unsqueeze(-1) * waves, "... x k -> ... (x k)")
    return torch.cat([points, phase.sin(), phase.cos()], -1)


class Fields(nn.Module):
    """The fields of all classes, and their renderer for pictures of ``size`` pixels a side."""

    inside: Tensor  # the pixels whose rays meet the ball: as many as rays below
    depths: Tensor  # (ray, sample)
    delta: Tensor  # (ray, 1), between samples

    def __init__(self, classes: int, size: int, width: int, samples: int) -> None:
        super().__init__()
        self.size = size
        widths = [3 + 6 * OCTAVES, width, width, 4]
        shapes = list(pairwise(widths))
        made = [torch.randn(classes, m, n) / math.sqrt(m) for m, n in shapes]
        self.weights = nn.ParameterList(made)
        self.biases = nn.ParameterList([torch.zeros(classes, 1, n) for n in widths[1:]])
        zero = torch.zeros(())
        cosine = -directions(zero, zero, size)[:, 0]  # between a ray and the axis of view
        half = 1 - RADIUS**2 * (1 - cosine**2)  # squared, of the chord in the unit ball
        (inside,) = torch.nonzero(half > 0, as_tuple=True)
        middle, half = RADIUS * cosine[inside, None], half[inside, None].sqrt()
        steps = (torch.arange(samples) + 0.5) / samples * 2 - 1
        self.register_buffer("inside", inside)
        self.register_buffer("depths", middle + half * steps)
        self.register_buffer("delta", 2 * half / samples)

    def field(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Density (class, point) and colour (class, point, 3) of points (class, point, 3)."""
        hidden = encode(points)
        for weight, bias in zip(self.weights, self.biases, strict=True):
            last = weight is self.weights[-1]
            hidden = torch.baddbmm(bias, hidden, weight)
            hidden = hidden if last else F.silu(hidden)
        return 10 * F.softplus(hidden[..., 0] - 1), hidden[..., 1:].sigmoid()

    def march(self, origin: Tensor, towards: Tensor, depths: Tensor, delta: Tensor) -> Tensor:
        """RGBA (class, ray, 4), colour times alpha, of rays (class, ray, 3) at ``depths``
        (class or 1, ray, sample), ``delta`` (class or 1, ray, 1) apart."""
        points = origin.unsqueeze(-2) + depths.unsqueeze(-1) * towards.unsqueeze(-2)
        rays = points.shape[1]
        density, colour = self.field(rearrange(points, "c r s x -> c (r s) x"))
        thick = rearrange(density, "c (r s) -> c r s", r=rays) * delta
        before = thick.cumsum(-1) - thick
        weight = (-before).exp() * (1 - (-thick).exp())  # T alpha
        colour = rearrange(colour, "c (r s) k -> c r s k", r=rays)
        rgb = einsum(weight, colour, "c r s, c r s k -> c r k")
        return torch.cat([rgb, reduce(weight, "c r s -> c r 1", "sum")], -1)

    def pictures(self, azimuth: Tensor, elevation: Tensor) -> Tensor:
        """RGBA (class, picture, 4, size, size) from poses (class, picture): smooth in both."""
        classes, count = azimuth.shape
        towards = directions(azimuth, elevation, self.size)[:, :, self.inside]
        origin = position(azimuth, elevation).unsqueeze(2).expand_as(towards)
        origin, towards = (rearrange(one, "c v r x -> c (v r) x") for one in (origin, towards))
        depths, delta = (one.repeat(count, 1).unsqueeze(0) for one in (self.depths, self.delta))
        seen = rearrange(
            self.march(origin, towards, depths, delta), "c (v r) k -> c v k r", v=count
        )
        blank = seen.new_zeros(classes, count, 4, self.size**2)
        whole = blank.index_copy(-1, self.inside, seen)
        return rearrange(whole, "c v k (h w) -> c v k h w", h=self.size)

    @torch.no_grad()
    def render(self, azimuth: Tensor, elevation: Tensor) -> Tensor:
        """``pictures``, some at a time."""
        poses = zip(azimuth.split(CHUNK, 1), elevation.split(CHUNK, 1), strict=True)
        return torch.cat([self.pictures(*pose) for pose in poses], 1)

    @torch.no_grad()
    def render_moving(self, azimuth: Tensor, elevation: Tensor) -> tuple[Tensor, Tensor]:
        """The pictures, and their derivative by azimuth: forward mode, since each picture depends
        on one angle; in chunks, as rays are back-propagated by the paper's authors."""
        found = []
        for turn, height in zip(azimuth.split(CHUNK, 1), elevation.split(CHUNK, 1), strict=True):
            with dual_level(), warnings.catch_warnings():
                # torch scripts its own rules when they are first used, and warns of scripting
                warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
                dual = make_dual(turn, torch.ones_like(turn))
                found.append(unpack_dual(self.pictures(dual, height)))
        pictures, moving = zip(*found, strict=True)
        return torch.cat(pictures, 1), torch.cat(moving, 1)


def fit(views: Views, width: int, samples: int, steps: int, rays: int, seed: int) -> Fields:
    """Fields of all classes, by Adam on the squared error of ``rays`` random pixels a step."""
    torch.manual_seed(seed)
    classes, count, _, size, _ = views.rgba.shape
    fields = Fields(classes, size, width, samples)
    towards = directions(views.azimuth, views.elevation, size)[:, :, fields.inside]
    origin = position(views.azimuth, views.elevation)
    seen = rearrange(views.rgba, "c v k h w -> c v (h w) k")[:, :, fields.inside]
    adam = torch.optim.Adam(fields.parameters(), 1e-2)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    every = torch.arange(classes).unsqueeze(-1)
    for _ in range(steps):
        view = torch.randint(count, (classes, rays))
        ray = torch.randint(len(fields.inside), (classes, rays))
        jitter = torch.rand(classes, rays, samples) - 0.5
        depths = fields.depths[ray] + jitter * fields.delta[ray]
        start, run = origin[every, view], towards[every, view, ray]
        made = fields.march(start, run, depths, fields.delta[ray])
        loss = classes * F.mse_loss(made, seen[every, view, ray])
        adam.zero_grad()
        loss.backward()
        adam.step()
        decay.step()
    return fields.requires_grad_(False)


def peak_signal_to_noise(fields: Fields, views: Views) -> float:
    """In decibels, over RGBA of all views."""
    error = F.mse_loss(fields.render(views.azimuth, views.elevation), views.rgba)
    return float(-10 * error.log10())
