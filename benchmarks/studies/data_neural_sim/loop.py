"""The closed loop: poses -> NeRF -> training pictures -> model -> validation error -> poses.

With I(psi) the training pictures from poses psi (Gumbel noise and all else fixed), theta*(psi) the
minimum of L(theta, I) = error + ridge/2 |theta|^2, and V the error on the validation pictures,

    dV/dpsi = - v . d/dI [grad_theta L] dI/dpsi,    v = H^-1 grad V,    H = hess_theta L,

since grad_theta L(theta*(psi), I(psi)) = 0 for all psi. H^-1 is by conjugate gradients; dI/dpsi =
dI/dazimuth dazimuth/dpsi, each by automatic differentiation. The boxes that a detector is trained
with are held fixed in dI.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.autograd import grad

from benchmarks.studies.data_neural_sim.nerf import Fields
from benchmarks.studies.data_neural_sim.pictures import Plan, compose, contents, layers, plan
from benchmarks.studies.data_neural_sim.poses import BINS, azimuths
from benchmarks.studies.data_neural_sim.targets import Target, Truth
from benchmarks.studies.data_neural_sim.wild import Labelled


@dataclass(frozen=True)
class Held:
    """Pictures that a model is judged by: ``pictures`` (n, 3, size, size) and what is in them."""

    pictures: Tensor
    found: Labelled

    @classmethod
    def of(cls, found: Labelled) -> Held:
        return cls(torch.tensor(found.pictures), found)


def made_truth(target: Target, plan: Plan, placed: Tensor) -> Truth:
    if target.scenes:
        boxes, labels = contents(plan, placed)
        return target.truth(labels, boxes)
    classes, each = plan.elevation.shape
    return target.truth(list(np.repeat(np.arange(classes), each)[:, None]), [])


def solve(target: Target, inputs: Tensor, truth: Truth, start: Tensor, steps: int) -> Tensor:
    """The minimum theta of error + ridge/2 |theta|^2, by L-BFGS from ``start``."""
    theta = start.clone().requires_grad_()
    exact = 1e-6 if theta.dtype == torch.float32 else 1e-9
    search = torch.optim.LBFGS(
        [theta], 1.0, steps, tolerance_grad=exact, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        search.zero_grad()
        loss = training_loss(target, theta, inputs, truth)
        loss.backward()
        return loss

    search.step(closure)
    return theta.detach()


def training_loss(target: Target, theta: Tensor, inputs: Tensor, truth: Truth) -> Tensor:
    return target.error(theta, inputs, truth) + target.ridge / 2 * theta.square().sum()


def conjugate_gradients(
    product: Callable[[Tensor], Tensor], right: Tensor, steps: int, exact: float
) -> Tensor:
    """x with product(x) = right, for a symmetric positive definite product, to a relative
    residual of ``exact`` or for ``steps``."""
    x, residual = torch.zeros_like(right), right.clone()
    direction, squared = residual.clone(), residual.square().sum()
    enough = exact**2 * squared
    for _ in range(steps):
        if squared <= enough:
            break
        along = product(direction)
        step = squared / (direction * along).sum()
        x, residual = x + step * direction, residual - step * along
        before, squared = squared, residual.square().sum()
        direction = residual + squared / before * direction
    return x


def adjoint(
    target: Target, theta: Tensor, inputs: Tensor, truth: Truth, held: Held, steps: int
) -> Tensor:
    """v = H^-1 grad V, with the shape of theta."""
    theta = theta.clone().requires_grad_()
    judged = target.truth(held.found.labels, held.found.boxes).to(theta.dtype)
    with torch.no_grad():
        seen = target.inputs(held.pictures.to(theta.dtype))
    (right,) = grad(target.error(theta, seen, judged), theta)
    (slope,) = grad(training_loss(target, theta, inputs, truth), theta, create_graph=True)

    def product(vector: Tensor) -> Tensor:
        return grad(slope, theta, vector, retain_graph=True)[0]

    exact = 1e-4 if theta.dtype == torch.float32 else 1e-10
    return conjugate_gradients(product, right, steps, exact)


@dataclass
class Loop:
    """All that is fixed while poses are learned, of one task."""

    fields: Fields
    target: Target
    valid: Held
    each: int  # training pictures of each class
    size: int
    temperature: float
    solve_steps: int
    cg_steps: int

    @property
    def blank(self) -> Tensor:
        return torch.zeros(self.target.shape)

    def plan(self, rng: np.random.Generator) -> Plan:
        classes = len(self.fields.weights[0])
        return plan(rng, classes, self.each, self.size, self.target.scenes)

    def train(self, logits: Tensor, rng: np.random.Generator) -> Tensor:
        """Theta trained on pictures whose bins are drawn by softmax(logits)."""
        drawn = self.plan(rng)
        placed = layers(
            drawn, self.fields.render(azimuths(logits, drawn.noise, 0), drawn.elevation)
        )
        inputs = self.target.inputs(compose(drawn, placed))
        truth = made_truth(self.target, drawn, placed)
        return solve(self.target, inputs, truth, self.blank, self.solve_steps)

    def error(self, theta: Tensor) -> float:
        """V, on the validation pictures."""
        truth = self.target.truth(self.valid.found.labels, self.valid.found.boxes)
        with torch.no_grad():
            pictures = self.valid.pictures.to(theta.dtype)
            return float(
                self.target.error(theta, self.target.inputs(pictures), truth.to(theta.dtype))
            )

    def value(self, logits: Tensor, drawn: Plan, truth: Truth, start: Tensor) -> float:
        """V(psi), all that is random as drawn: what ``gradient`` is the derivative of."""
        pictures = self.fields.render(
            azimuths(logits, drawn.noise, self.temperature), drawn.elevation
        )
        placed = layers(drawn, pictures)
        truth = truth or made_truth(self.target, drawn, placed).to(logits.dtype)
        inputs = self.target.inputs(compose(drawn, placed))
        return self.error(solve(self.target, inputs, truth, start, self.solve_steps))

    def gradient(self, logits: Tensor, drawn: Plan, start: Tensor) -> tuple[Tensor, Tensor, Truth]:
        """dV/dpsi (BINS,), the trained theta, and what it was trained with."""
        logits = logits.detach().requires_grad_()
        turn = azimuths(logits, drawn.noise, self.temperature)
        pictures, moving = self.fields.render_moving(turn.detach(), drawn.elevation)
        truth = made_truth(self.target, drawn, layers(drawn, pictures)).to(logits.dtype)
        pictures.requires_grad_()
        inputs = self.target.inputs(compose(drawn, layers(drawn, pictures)))
        theta = solve(self.target, inputs.detach(), truth, start, self.solve_steps)
        held = adjoint(self.target, theta, inputs.detach(), truth, self.valid, self.cg_steps)
        theta.requires_grad_()
        (slope,) = grad(self.target.error(theta, inputs, truth), theta, create_graph=True)
        (by_picture,) = grad((slope * held).sum(), pictures)
        by_turn = -(by_picture * moving).sum((-3, -2, -1))
        (found,) = grad(turn, logits, by_turn)
        return found, theta.detach(), truth


@dataclass(frozen=True)
class Step:
    """``shares`` (BINS,) of the poses, and ``error`` V of the model trained with them."""

    shares: np.ndarray
    error: float


def learn(loop: Loop, steps: int, rate: float, rng: np.random.Generator) -> list[Step]:
    """From uniform poses by Adam on psi, with new noise each step, which starts where the last
    one's model is: as many trainings as steps. The last entry is what was learned."""
    logits = torch.zeros(BINS, requires_grad=True)
    adam = torch.optim.Adam([logits], rate, betas=(0.8, 0.9))
    theta, done = loop.blank, []
    for _ in range(steps):
        logits.grad, theta, _ = loop.gradient(logits, loop.plan(rng), theta)
        done.append(Step(shares_of(logits), loop.error(theta)))
        adam.step()
    return [*done, Step(shares_of(logits), float("nan"))]


def random_search(loop: Loop, steps: int, rng: np.random.Generator) -> Step:
    """The best by V of as many random distributions, of Dirichlet's with all parameters 1/2."""
    tried = []
    for shares in rng.dirichlet(np.full(BINS, 0.5), steps):
        tried.append(Step(shares, loop.error(loop.train(logits_of(shares), rng))))
    return min(tried, key=lambda step: step.error)


def shares_of(logits: Tensor) -> np.ndarray:
    shares: np.ndarray = logits.detach().softmax(-1).double().numpy()
    return shares


def logits_of(shares: np.ndarray) -> Tensor:
    return torch.tensor(np.log(np.maximum(shares, 1e-9)), dtype=torch.float32)
