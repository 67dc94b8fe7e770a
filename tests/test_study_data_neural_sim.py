"""The parts of the study of Neural-Sim, each against an independent account of it."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from benchmarks.page import Table
from benchmarks.studies import data_neural_sim
from benchmarks.studies.data_neural_sim import (
    STUDY,
    Settings,
    measure,
    nerf,
    objects,
    poses,
    precision,
    real,
    wild,
)
from benchmarks.studies.data_neural_sim.detector import Detector, Features, peaks
from benchmarks.studies.data_neural_sim.differences import check
from benchmarks.studies.data_neural_sim.loop import Held, Loop, conjugate_gradients
from benchmarks.studies.data_neural_sim.targets import Classifier
from benchmarks.study import _plain
from lego.task import SettingError

NAMES = list(objects.OBJECTS)


@pytest.fixture(scope="module")
def fields():
    """NeRFs that nobody fitted: smooth, and not empty."""
    torch.manual_seed(0)
    return nerf.Fields(len(NAMES), 12, 8, 6).requires_grad_(False)


def test_both_renderers_show_the_same_object_from_the_same_side():
    """The traced view from each quarter is most like the wild pictures from that quarter."""
    rng = np.random.default_rng(0)
    views = objects.views(4, 24, 0)
    for label, name in enumerate(NAMES):
        seen = views.rgba[label, :, :3].numpy()
        turns = views.azimuth[label].numpy()
        by_turn = [[wild.cut_out(name, turn, 24, rng)[..., :3] for _ in range(6)] for turn in turns]
        mean = np.array(by_turn).mean(1).transpose(0, 3, 1, 2)
        flat, others = seen.reshape(4, -1), mean.reshape(4, -1)
        near = np.corrcoef(flat, others)[:4, 4:]
        assert (near.argmax(1) == np.arange(4)).all()


def test_a_ray_meets_a_ball_and_a_cube_where_it_must():
    eye, rays = np.array([4.0, 0, 0]), np.array([[-1.0, 0, 0], [0, 1, 0]])
    for kind in ("ellipsoid", "box"):
        one = objects.Primitive(kind, (0.5, 0, 0), (0.5, 1, 1), objects.RED)
        depth, normal = wild.meet(one, eye, rays)
        assert np.isclose(depth[0], 3) and np.isinf(depth[1])
        assert np.allclose(normal[0], [1, 0, 0], atol=1e-9)
        surface = torch.tensor([[1.0, 0, 0], [2.0, 0, 0]])
        assert torch.allclose(objects.distance(one, surface)[0], torch.tensor(0.0), atol=1e-6)


def test_the_volume_integral_of_a_constant_field(fields, monkeypatch):
    """Density 2, one colour: alpha = 1 - exp(-2 length of the chord), colour = alpha times it."""
    colour = torch.tensor([0.2, 0.5, 0.9])
    constant = lambda points: (torch.full(points.shape[:-1], 2.0), colour.expand_as(points))  # noqa: E731
    monkeypatch.setattr(fields, "field", constant)
    turn = torch.zeros(len(NAMES), 1)
    seen = fields.pictures(turn, turn + 0.3)[0, 0].flatten(1)
    towards = nerf.directions(torch.tensor(0.0), torch.tensor(0.3), 12)
    eye = nerf.position(torch.tensor(0.0), torch.tensor(0.3))
    middle = -(towards @ eye)
    chord = 2 * (1 - eye @ eye + middle**2).clamp(min=0).sqrt()
    alpha = 1 - (-2 * chord).exp()
    assert torch.allclose(seen[3], alpha, atol=1e-5)
    assert torch.allclose(seen[:3], alpha * colour[:, None], atol=1e-5)


def test_pictures_move_as_their_derivative_says(fields):
    exact = nerf.Fields(len(NAMES), 12, 8, 6).double().requires_grad_(False)
    turn = torch.rand(len(NAMES), 2, dtype=torch.float64)
    _, moving = exact.render_moving(turn, turn + 0.1)
    ends = [exact.render(turn + step, turn + 0.1) for step in (1e-5, -1e-5)]
    assert torch.allclose(moving, (ends[0] - ends[1]) / 2e-5, atol=1e-6)
    assert moving.abs().max() > 1e-3


def test_a_turned_distribution_turns_the_poses():
    """All bins are alike: the relaxed angle has no seam."""
    drawn = poses.noise(np.random.default_rng(0), (500,))
    logits = torch.tensor([2.0, 1.0, -1.0, -2.0, -2.0, -2.0, -1.0, 1.0])
    first = poses.azimuths(logits, drawn, 0.3)
    turned = poses.Noise(drawn.gumbel.roll(3, -1), drawn.within)
    second = poses.azimuths(logits.roll(3), turned, 0.3)
    gap = (second - first - 3 * poses.WIDTH + math.pi) % (2 * math.pi) - math.pi
    assert gap.abs().max() < 1e-3


def test_at_temperature_0_bins_have_their_probabilities():
    shares = poses.wild_poses(np.random.default_rng(1))
    drawn = poses.noise(np.random.default_rng(0), (20_000,))
    turn = poses.azimuths(torch.tensor(shares).log().float(), drawn, 0)
    counted = np.bincount((turn // poses.WIDTH).long().numpy() % poses.BINS, minlength=8) / 20_000
    assert poses.distance(shares, counted) < 0.02


@given(st.integers(2, 8), st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_conjugate_gradients_solve(size, seed):
    made = np.random.default_rng(seed).normal(size=(size, size))
    matrix = torch.tensor(made @ made.T + np.eye(size))
    right = torch.tensor(made[0])
    found = conjugate_gradients(lambda x: matrix @ x, right, 100, 1e-12)
    assert torch.allclose(matrix @ found, right, atol=1e-8)


@pytest.mark.parametrize("scenes", [False, True])
def test_the_implicit_gradient_is_that_of_whole_trainings(fields, scenes):
    rng = np.random.default_rng(0)
    if scenes:
        torch.manual_seed(1)
        target = Detector(Features().requires_grad_(False), len(NAMES), 24, 0.1)
        held, size = wild.scenes(4, 24, np.full(8, 1 / 8), rng), 24
    else:
        target, size = Classifier(len(NAMES), 12, 0.01), 12
        held = wild.portraits(12, 12, np.full(8, 1 / 8), rng)
    loop = Loop(fields, target, Held.of(held), 1, size, 0.5, 50, 50)
    found = check(loop, 1, rng)
    assert found["cosine"] > 0.999 and found["relative"] < 0.02


def test_the_detector_reads_back_what_it_was_told():
    """A head that says exactly the truth of some boxes detects these boxes."""
    boxes = [np.array([[2.0, 3, 20, 21], [26, 25, 44, 46]]), np.array([[5.0, 28, 22, 41]])]
    labels = [np.array([1, 1]), np.array([0])]
    truth = peaks(labels, boxes, 3, 12)
    detector = Detector(Features(), 3, 48, 0.1)
    said = torch.cat([truth.heat.clamp(1e-4, 1 - 1e-4).logit(), truth.sides], 1)
    detector.inputs = lambda pictures: said.permute(0, 2, 3, 1)
    found = detector.detect(torch.eye(7), torch.zeros(2, 3, 48, 48))
    for one, there, classes in zip(found, boxes, labels, strict=True):
        best = np.argsort(-one.scores)[: len(there)]
        assert sorted(one.labels[best]) == sorted(classes)
        assert np.allclose(sorted(one.boxes[best].tolist()), sorted(there.tolist()), atol=1e-4)
    assert precision.mean_average_precision(found, boxes, labels) == 1


def box(x):
    return np.array([[x, 0.0, x + 10, 10]])


def test_average_precision_by_hand():
    there = [np.concatenate([box(0), box(20)]), box(0)]
    # By score: right, wrong (far), right, wrong (that box is taken): recall 1/3 at precision 1,
    # 2/3 at 2/3; the third box is never found.
    first = (np.concatenate([box(1), box(50), box(21)]), np.array([0.9, 0.8, 0.7]))
    second = (box(100), np.array([0.1]))
    assert math.isclose(precision.average_precision([first, second], there), (1 + 2 / 3) / 3)
    twice = (np.concatenate([box(0), box(1)]), np.array([0.9, 0.8]))
    assert math.isclose(precision.average_precision([twice], [box(0)]), 1)
    late = (np.concatenate([box(50), box(0)]), np.array([0.9, 0.8]))
    assert math.isclose(precision.average_precision([late], [box(0)]), 0.5)
    assert precision.overlap(box(0), box(5))[0, 0] == pytest.approx(1 / 3)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_average_precision_by_its_definition(seed):
    """The integral over recall of the best precision at that recall or more, each recall counted
    anew from the detections above each threshold."""
    rng = np.random.default_rng(seed)
    there = [rng.integers(0, 12, (rng.integers(1, 4), 1)) * 10.0 for _ in range(3)]
    there = [np.hstack([one, 0 * one, one + 10, 0 * one + 10]) for one in map(np.unique, there)
             for one in [one[:, None]]]  # fmt: skip
    found = []
    for _ in there:
        at = rng.integers(0, 24, (rng.integers(0, 6), 1)) * 5.0
        found.append(
            (np.hstack([at, 0 * at, at + 10, 0 * at + 10]), rng.permutation(99)[: len(at)])
        )
    offset = [(boxes, scores + n / 10) for n, (boxes, scores) in enumerate(found)]  # no ties
    total = sum(map(len, there))
    points = []
    for threshold in np.concatenate([scores for _, scores in offset]):
        right = many = 0
        for (boxes, scores), truth in zip(offset, there, strict=True):
            kept = boxes[scores >= threshold]
            kept = kept[np.argsort(-scores[scores >= threshold])]
            many, free = many + len(kept), set(range(len(truth)))
            for one in kept:
                over = {k: precision.overlap(one[None], truth[k : k + 1])[0, 0] for k in free}
                best = max(over, key=over.get, default=None)
                if best is not None and over[best] >= 0.5:
                    free.discard(best)
                    right += 1
        points.append((right / total, right / many))
    steps = np.arange(total) / total
    by_hand = [max((p for r, p in points if r > step + 1e-9), default=0) for step in steps]
    assert math.isclose(precision.average_precision(offset, there), np.mean(by_hand), abs_tol=1e-9)


def folder(root, names=("mug", "tin")):
    """A tiny folder in the layout of ``real.py``: objects of one colour each."""
    rng = np.random.default_rng(0)
    for label, name in enumerate(names):
        (root / "views" / name).mkdir(parents=True)
        frames = []
        for n, turn in enumerate(np.arange(6) * math.pi / 3):
            rgba = np.zeros((32, 32, 4), np.uint8)
            rgba[8:24, 8:24] = [250 * label, 100, 250 - 250 * label, 255]
            Image.fromarray(rgba).save(root / "views" / name / f"{n}.png")
            matrix = np.eye(4)
            matrix[:3, 3] = [3 * math.cos(turn), 3 * math.sin(turn), 3]
            frames.append({"file_path": f"{n}", "transform_matrix": matrix.tolist()})
        (root / "views" / name / "transforms.json").write_text(json.dumps({"frames": frames}))
    (root / "wild").mkdir()
    noted = {"images": [], "annotations": [], "categories": [{"id": 7, "name": "hand"}]}
    noted["categories"] += [{"id": 10 + n, "name": name} for n, name in enumerate(names)]
    for n in range(8):
        picture = rng.integers(0, 255, (60, 80, 3)).astype(np.uint8)
        noted["images"].append({"id": n, "file_name": f"{n}.jpg", "width": 80, "height": 60})
        for slot in range(2):
            picture[20:40, 10 + 40 * slot : 30 + 40 * slot] = [250 * slot, 100, 250 - 250 * slot]
            about = {"image_id": n, "category_id": 10 + slot, "bbox": [10 + 40 * slot, 20, 20, 20]}
            noted["annotations"].append({"id": 2 * n + slot, **about})
        noted["annotations"].append({"image_id": n, "category_id": 7, "bbox": [0, 0, 5, 5]})
        Image.fromarray(picture).save(root / "wild" / f"{n}.jpg", quality=95)
    (root / "wild" / "annotations.json").write_text(json.dumps(noted))


def test_a_folder_of_real_pictures(tmp_path):
    folder(tmp_path)
    found = real.read(str(tmp_path), 24, 48)
    assert found.views.names == ("mug", "tin") and found.views.rgba.shape == (2, 6, 4, 24, 24)
    assert torch.allclose(found.views.azimuth[0, 1], torch.tensor(math.pi / 3))
    assert torch.allclose(found.views.elevation, torch.tensor(math.pi / 4))
    assert found.portraits.pictures.shape == (16, 3, 24, 24)
    assert np.allclose(found.portraits.pictures[1, :, 4:20, 4:20].mean((1, 2)) * 255,
                       [250, 100, 0], atol=8)  # fmt: skip
    assert [one.tolist() for one in found.scenes.labels] == [[0, 1]] * 8
    assert np.allclose(found.scenes.boxes[0], [[6, 16, 18, 32], [30, 16, 42, 32]])
    first, second = real.halves(found.scenes, (5, 99), np.random.default_rng(0))
    assert len(first.pictures) == 4 and len(second.pictures) == 4


def test_real_pictures_take_the_place_of_the_wild(tmp_path, monkeypatch):
    """The loop closes on them, and the page says nothing of poses that nobody knows."""
    folder(tmp_path)
    agreed = {"cosine": 1.0, "relative": 0.0}  # has a test of its own
    monkeypatch.setattr(data_neural_sim, "check", lambda *args: agreed)
    tiny = Settings(1, 4, 2, 8, 3, 2, 2, 2, 2, 1, 6, 6, 4, 4, 1, 8, 4, real=str(tmp_path))
    rows = [json.loads(json.dumps(_plain(row))) for row in measure(tiny, [0])]
    found = {"loop": pd.DataFrame(rows)}
    arms = found["loop"][(found["loop"].kind == "arm") & (found["loop"].wild == "wild")]
    assert set(arms.arm) == {"uniform", "learned", "random search", "validation pictures"}
    assert arms.score.between(0, 1).all()
    names = [one.name for one in STUDY.judge(found, tiny)]
    assert len(names) == 8 and not any("two bins" in name for name in names)
    assert sum(isinstance(one, Table) for one in STUDY.show(found, tiny)) == 4


def test_another_folder_is_refused(tmp_path):
    with pytest.raises(SettingError, match="real="):
        real.read(str(tmp_path), 24, 48)
    folder(tmp_path)
    (tmp_path / "wild" / "annotations.json").write_text('{"images": []}')
    with pytest.raises(SettingError, match="layout"):
        real.read(str(tmp_path), 24, 48)
