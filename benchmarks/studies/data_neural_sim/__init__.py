"""Neural-Sim: poses of training pictures, learned through a NeRF and the training of a model.

A NeRF of each object makes the training pictures of a model, from poses that a distribution psi
over eight bins of azimuth gives. The model is judged by a few labelled pictures from the wild,
whose poses are not known; their error's derivative by psi goes back through the trained model
(implicit gradient), the training pictures and the NeRF. ``loop`` has the equations, ``nerf`` and
``poses`` the generator, ``targets`` and ``detector`` the models, ``objects`` and ``wild`` the two
renderers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
import torch

from benchmarks import verdict
from benchmarks.studies.data_neural_sim import objects, real, wild
from benchmarks.studies.data_neural_sim.detector import Detector, Features, learn_features
from benchmarks.studies.data_neural_sim.differences import check
from benchmarks.studies.data_neural_sim.loop import (
    Held,
    Loop,
    learn,
    logits_of,
    random_search,
    solve,
)
from benchmarks.studies.data_neural_sim.nerf import Fields, fit, peak_signal_to_noise
from benchmarks.studies.data_neural_sim.pictures import (
    SCENE,
    TILE,
    compose,
    contents,
    layers,
    plan,
)
from benchmarks.studies.data_neural_sim.poses import (
    BINS,
    UNIFORM,
    azimuths,
    distance,
    wild_poses,
)
from benchmarks.studies.data_neural_sim.shown import SCORES, of, show
from benchmarks.studies.data_neural_sim.targets import Classifier, Target
from benchmarks.study import Found, Part, Row, Study, option

RIDGE = {"classification": 0.01, "detection": 0.1}
GAIN = {"classification": 0.1, "detection": 0.05}
MASS = 0.5  # of the learned distribution, on the two bins that the wild has most of


@dataclass(frozen=True)
class Settings:
    seeds: int
    views: int  # of each object, for its NeRF
    fit_steps: int
    rays: int
    feature_each: int  # pictures of each class that the detector's features are learned from
    feature_steps: int
    each: int  # training pictures of each class, of a training in the loop
    steps: int  # trainings of the loop, and of random search
    final_each: int  # training pictures of each class, of a model that is tested
    trainings: int  # of these, with fresh pictures; their mean score counts
    valid: int  # labelled wild portraits that the loop sees
    test: int
    valid_scenes: int
    test_scenes: int
    check_each: int
    width: int = 32  # of the NeRF
    samples: int = 12  # a ray
    rate: float = 0.3  # Adam's, of psi
    temperature: float = 0.3  # of Gumbel-softmax
    solve_steps: int = 60
    cg_steps: int = 30
    real: str | None = option(
        None, "folder with views and annotated pictures of real objects, see real.py"
    )


@dataclass(frozen=True)
class World:
    """Where test pictures come from: poses of ``shares`` (BINS,), or ``pictures`` of real ones."""

    name: str
    fields: Fields
    features: Features
    shares: np.ndarray | None = None
    pictures: real.Real | None = None

    def target(self, task: str) -> Target:
        classes = len(self.fields.weights[0])
        if task == "detection":
            return Detector(self.features, classes, SCENE, RIDGE[task])
        return Classifier(classes, TILE, RIDGE[task])

    def held(self, task: str, settings: Settings, rng: np.random.Generator) -> tuple[Held, Held]:
        """For validation and for the test."""
        scenes = task == "detection"
        counts = (settings.valid, settings.test)
        if scenes:
            counts = (settings.valid_scenes, settings.test_scenes)
        if self.pictures is not None:
            whole = self.pictures.scenes if scenes else self.pictures.portraits
            first, second = real.halves(whole, counts, rng)
        else:
            assert self.shares is not None
            draw, size = (wild.scenes, SCENE) if scenes else (wild.portraits, TILE)
            first, second = (draw(count, size, self.shares, rng) for count in counts)
        return Held.of(first), Held.of(second)


def measure(settings: Settings, seeds: Sequence[int]) -> Iterator[Row]:
    """Rows of four kinds: ``nerf``, ``gradient``, ``step`` of the loop, and ``arm``, a way to find
    poses with the score of models trained with them."""
    (seed,) = seeds
    torch.manual_seed(seed)
    views = objects.views(settings.views, TILE, seed)
    fields, features = generator(views, settings, seed)
    unseen = objects.views(8, TILE, seed + 10**6)
    yield {"seed": seed, "kind": "nerf", "decibels": peak_signal_to_noise(fields, unseen)}
    posed = World("wild", fields, features, wild_poses(np.random.default_rng([seed, 2])))
    if settings.real is not None:
        pictures = real.read(settings.real, TILE, SCENE)
        posed = World("wild", *generator(pictures.views, settings, seed), pictures=pictures)
    control = World("uniform", fields, features, UNIFORM)
    for stream, (task, world) in enumerate(product(SCORES, (posed, control)), 4):
        for row in close(world, task, settings, np.random.default_rng([seed, stream])):
            yield {"seed": seed, "task": task, "wild": world.name, **row}


def generator(views: objects.Views, settings: Settings, seed: int) -> tuple[Fields, Features]:
    """NeRFs of the objects, and features of a detector of such objects at all poses."""
    fields = fit(views, settings.width, settings.samples, settings.fit_steps, settings.rays, seed)
    rng = np.random.default_rng([seed, 3])
    drawn = plan(rng, len(views.names), settings.feature_each, SCENE, True)
    turn = azimuths(torch.zeros(BINS), drawn.noise, 0)
    placed = layers(drawn, fields.render(turn, drawn.elevation))
    boxes, _ = contents(drawn, placed)
    pictures = compose(drawn, placed)
    return fields, learn_features(pictures, boxes, settings.feature_steps, 16, seed)


def close(world: World, task: str, settings: Settings, rng: np.random.Generator) -> Iterator[Row]:
    """Close the loop in one world, and compare; where poses are uniform, with uniform alone."""
    target = world.target(task)
    valid, test = world.held(task, settings, rng)
    loop = Loop(
        world.fields,
        target,
        valid,
        settings.each,
        SCENE if target.scenes else TILE,
        settings.temperature,
        settings.solve_steps,
        settings.cg_steps,
    )
    steps = learn(loop, settings.steps, settings.rate, rng)
    for number, step in enumerate(steps):
        row: Row = {"kind": "step", "step": number, "error": step.error}
        yield row | {"shares": step.shares.round(4), "distance": _far(step.shares, world)}
    found: dict[str, np.ndarray] = {"uniform": UNIFORM, "learned": steps[-1].shares}
    if world.name == "wild":
        yield {"kind": "gradient", **check(loop, settings.check_each, rng)}
        found["random search"] = random_search(loop, settings.steps, rng).shares
        if world.shares is not None:
            found["oracle"] = world.shares
        seen = target.truth(valid.found.labels, valid.found.boxes)
        theta = solve(target, target.inputs(valid.pictures), seen, loop.blank, 100)
        score = target.score(theta, test.pictures, test.found)
        yield {"kind": "arm", "arm": "validation pictures", "score": score}
    loop.each, loop.solve_steps = settings.final_each, 100
    drawn = rng.integers(2**32, size=settings.trainings)  # each arm's models from the same noise
    for arm, shares in found.items():
        thetas = [loop.train(logits_of(shares), np.random.default_rng(one)) for one in drawn]
        scores = [target.score(theta, test.pictures, test.found) for theta in thetas]
        row = {"kind": "arm", "arm": arm, "score": np.mean(scores), "shares": shares.round(4)}
        yield row | {"distance": _far(shares, world), "mass": _mass(shares, world)}


def _far(shares: np.ndarray, world: World) -> float | None:
    return None if world.shares is None else distance(shares, world.shares)


def _mass(shares: np.ndarray, world: World) -> float | None:
    """On the two bins that the wild has most of."""
    if world.shares is None or world.shares is UNIFORM:
        return None
    return float(shares[np.argsort(world.shares)[-2:]].sum())


def gains(found: Found, task: str, place: str) -> pd.Series:
    """Of learned over uniform poses, a seed each."""
    arms = of(found, "arm", task=task, wild=place).pivot(
        index="seed", columns="arm", values="score"
    )
    return arms["learned"] - arms["uniform"]


def judge(found: Found, settings: Settings) -> list[verdict.Check]:
    return list(_judge(found, settings))


def _judge(found: Found, settings: Settings) -> Iterator[verdict.Check]:
    for task in SCORES:
        checked = of(found, "gradient", task=task)
        name = f"{task}: cosine of the implicit gradient with finite differences"
        yield verdict.every(name, checked.cosine, above=0.99)
        name = f"{task}: the same's relative error"
        yield verdict.every(name, checked.relative, below=0.05)
    for task, score in SCORES.items():
        if settings.real is None:
            name = f"{task}: learned mass of the wild's two bins (uniform: .25)"
            arms = of(found, "arm", task=task, wild="wild", arm="learned")
            yield verdict.every(name, arms.mass, above=MASS)
        name = f"{task}: {score}, learned minus uniform poses"
        yield verdict.every(name, gains(found, task, "wild"), above=GAIN[task])
    for task, score in SCORES.items():
        name = f"{task}: {score}, learned minus uniform poses, where the wild's are uniform"
        yield verdict.every(name, gains(found, task, "uniform"), above=GAIN[task], control=True)


STUDY = Study(
    claim="""A distribution of poses that is learned by differentiating through a NeRF and through
    the training of a model finds the poses of a test set that it knows a few labelled pictures of,
    and makes better training data than uniform poses do.""",
    source="""Ge, Behl, Xu, Gunasekar, Joshi, Song, Wang, Itti, Vineet: Neural-Sim: learning to
    generate training data with NeRF, ECCV 2022, arXiv 2207.11368, abstract and introduction; its
    released code for the bins (eight of 45 degrees), Gumbel-softmax and the implicit gradient by
    the last layers. The equations in loop.py are our derivation.""",
    criterion=f"""On every seed: the implicit gradient agrees with finite differences of whole
    trainings, cosine at least .99 and relative error at most .05; the learned distribution has at
    least half of its mass on the two bins that .88 of the wild pictures are from; models trained
    with learned poses beat those with uniform ones by {GAIN["classification"]} of accuracy and
    {GAIN["detection"]} of mAP. Control: where the wild's poses are uniform, the same gain must
    not be reached.""",
    method="""Six objects in three pairs, which differ in what is to the front and to the back.
    NeRFs of them are trained on sphere-traced views. The wild pictures are of the same objects by
    another renderer, rays in closed form, with other cameras, lamps with highlights, tints, grain,
    backgrounds and noise; a seed draws which two neighbouring bins have .58 and .30 of the poses.
    Starting from uniform, Adam moves the logits of the bins; each step renders fresh training
    pictures through the NeRF, trains, and takes the gradient by conjugate gradients and forward
    mode through the rays. Targets: a linear classifier of portraits, and a single-stage detector of
    scenes of one to three objects, with a linear head on fixed features; mAP at an overlap of 1/2.
    Random search has as many trainings, and takes the best by validation error. The oracle trains
    with the wild's own distribution of poses. What is tested is trained anew on more pictures from
    bins drawn by the distribution, without relaxation. "Validation pictures" is a model trained on
    the labelled wild pictures themselves, that the loop learns from: it needs no NeRF, and where it
    is best, so many labelled pictures are better used for training.""",
    reconstruction="""Objects, pictures, sizes and target models are ours, for a CPU: the paper has
    YCB objects, RetinaNet and a psi of each object; here all objects share one. The relaxed angle
    is a mean of directions, not of degrees. The derivative of pictures is by forward mode. The
    boxes that a detector is trained with are held fixed in the gradient. Psi is azimuth alone; zoom
    and light, which the paper learns too, are drawn at random. --real takes a folder of real
    objects in a layout that is our reading of the released code (real.py); the control stays
    ours. A first run at cpu scale, seeds 100-103, with 8 pictures of each class in a training and
    20 trainings, was inconclusive: detection gained .016, .188, .113 and .113. The loop was then
    given 12 and 24, and fresh seeds; the criterion stayed. Before any fresh seed, the bound of
    detection had been raised from .03 to .05, after seed 0.""",
    scales={
        "smoke": Settings(1, 10, 120, 64, 30, 80, 4, 4, 12, 1, 60, 120, 24, 60, 1),
        "cpu": Settings(4, 40, 500, 128, 64, 800, 12, 24, 32, 2, 120, 480, 60, 200, 2),
        "paper": Settings(10, 80, 4000, 256, 200, 4000, 16, 60, 64, 4, 240, 2000, 200, 1000, 4),
    },
    parts={"loop": Part(measure)},
    judge=judge,
    show=show,
)
