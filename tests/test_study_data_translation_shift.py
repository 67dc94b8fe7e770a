"""The building blocks of the study of translation shifts: images, shifts, augmentation, nets."""

import sys
import types

import datasets
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.studies import data_translation_shift as study
from benchmarks.studies.data_translation_shift import augmentations, images, vision
from lego.task import SettingError


@pytest.fixture(scope="module")
def digits():
    return images.digits(0, 8)


def centre(x):
    """The centre of mass (sample, 2) of images (sample, 1, height, width)."""
    line = torch.arange(x.shape[-1], dtype=x.dtype)
    mass = x.sum((1, 2, 3))
    down = (x.sum((1, 3)) * line).sum(1) / mass
    return torch.stack([down, (x.sum((1, 2)) * line).sum(1) / mass], 1)


@pytest.mark.parametrize("size", [8, 16])
def test_digits_lie_in_a_margin_that_no_shift_leaves(size):
    found = images.digits(3, size)
    assert found.canvas == 2 * size and found.furthest == size // 2
    assert len(found.train) + len(found.test) == 1797
    assert found.train.min() >= 0 and found.train.max() <= 1
    margin = found.test.clone()
    inner = slice(size // 2, size // 2 + size)
    margin[:, :, inner, inner] = 0
    assert margin.abs().max() == 0
    for down, right in images.directions(found.furthest):
        far = (torch.full((len(found.test),), one) for one in (down, right))
        moved = centre(images.shifted(found.test, *far)) - centre(found.test)
        assert torch.allclose(moved, torch.tensor([down, right], dtype=torch.float32), atol=1e-3)


def test_train_and_test_share_no_image_and_depend_on_the_seed(digits):
    again, other = images.digits(0, 8), images.digits(1, 8)
    assert torch.equal(again.test, digits.test) and not torch.equal(other.test, digits.test)
    seen = {one.numpy().tobytes() for one in digits.train}
    assert not any(one.numpy().tobytes() in seen for one in digits.test)


@given(st.integers(-20, 20), st.integers(-20, 20))
def test_a_shift_is_a_roll(down, right):
    x = torch.arange(3 * 2 * 5 * 7.0).reshape(3, 2, 5, 7)
    far = (torch.full((3,), one) for one in (down, right))
    assert torch.equal(images.shifted(x, *far), x.roll((down, right), (-2, -1)))


def test_each_offset_has_eight_directions():
    assert images.directions(0) == [(0, 0)]
    for offset in (1, 3):
        found = images.directions(offset)
        assert len(set(found)) == 8
        assert all(max(abs(down), abs(right)) == offset for down, right in found)


def test_cifar10_is_read_from_a_copy_of_its_format(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    columns = {"img": datasets.Image(), "label": datasets.ClassLabel(num_classes=10)}
    for split, rows in (("train", range(4)), ("test", range(4, 6))):
        table = {"img": [pixels[row] for row in rows], "label": list(rows)}
        made = datasets.Dataset.from_dict(table, datasets.Features(columns))
        made.to_parquet(tmp_path / f"{split}-00000-of-00001.parquet")
    found = images.cifar10(str(tmp_path))
    assert found.train.shape == (4, 3, 48, 48) and found.test_labels.tolist() == [4, 5]
    inner = found.test[:, :, 8:40, 8:40]
    expected = torch.tensor(pixels[4:]).permute(0, 3, 1, 2) / 255
    assert torch.equal(inner, expected)
    assert found.test.count_nonzero() == inner.count_nonzero()  # a black margin


def test_cifar10_that_cannot_be_had_is_one_line(tmp_path):
    with pytest.raises(SettingError, match="data='cifar10': allowed") as error:
        images.cifar10(str(tmp_path / "nothing"))
    assert "\n" not in str(error.value)


def test_a_crop_moves_by_whole_pixels_up_to_its_reach(digits):
    torch.manual_seed(0)
    moved = centre(augmentations.crop(digits.train, 2)) - centre(digits.train)
    assert torch.allclose(moved, moved.round(), atol=1e-3)
    assert set(moved.round().int().flatten().tolist()) == {-2, -1, 0, 1, 2}


def test_the_noise_is_as_large_as_the_crop(digits):
    torch.manual_seed(0)
    cropped = augmentations.crop(digits.train, 2)
    torch.manual_seed(0)
    noisy = augmentations.matched_noise(digits.train, 2)
    far = [(one - digits.train).flatten(1).norm(dim=1) for one in (cropped, noisy)]
    assert torch.allclose(*far, rtol=1e-4)


@pytest.mark.parametrize("name", augmentations.AUGMENTATIONS)
def test_labels_stay_shares_and_images_stay_images(digits, name):
    torch.manual_seed(1)
    x, shares = augmentations.augment(name, digits.train[:64], digits.labels[:64], 2)
    assert x.shape == (64, 1, 16, 16) and torch.allclose(shares.sum(1), torch.ones(64))
    if name != "noise":
        assert x.min() >= 0 and x.max() <= 1
    if name != "advanced":
        assert torch.equal(shares.argmax(1), digits.labels[:64])


def test_mixing_up_is_the_same_for_images_and_labels():
    torch.manual_seed(2)
    x, shares = augmentations.mix_up(torch.eye(5).reshape(5, 5, 1, 1), torch.eye(5))
    assert torch.allclose(x[:, :, 0, 0], shares)
    assert torch.allclose(
        shares, shares[0, 0] * torch.eye(5) + shares[0, 4] * torch.eye(5).roll(1, 0)
    )


def test_erasing_blackens_one_rectangle_in_half_of_the_images():
    torch.manual_seed(3)
    black = augmentations.erase(torch.ones(2000, 1, 16, 16))[:, 0] == 0
    area = black.sum((1, 2)) / 256
    assert 0.45 < (area > 0).float().mean() < 0.55
    assert area.max() < 0.4  # .33, and rounding
    high, wide = black.any(2).sum(1), black.any(1).sum(1)
    assert torch.equal(high * wide, black.sum((1, 2)))


def test_randaugment_turns_and_shifts_within_its_strength():
    torch.manual_seed(4)
    x = torch.zeros(500, 1, 32, 32)
    x[:, :, 14:18, 14:18] = 0.5
    moved = centre(augmentations.rand_augment(x)) - centre(x)
    assert 4 < moved.abs().max() < 2 * 0.136 * 32 + 0.5  # two translations at most
    same = (augmentations.rand_augment(x, rounds=1) - x).abs().amax((1, 2, 3)) < 1e-5
    assert 0.05 < same.float().mean() < 0.3  # nothing, or a solarize that finds nothing bright


def stub(v2):
    package = types.ModuleType("torchvision")
    package.transforms = types.ModuleType("torchvision.transforms")
    package.transforms.v2 = v2
    return {"torchvision": package, "torchvision.transforms": package.transforms}


def test_torchvisions_own_is_used_where_it_can_be_imported(monkeypatch):
    class Same:
        def __init__(self, *_, **__):
            pass

        def __call__(self, x):
            return x

    class Chain:
        def __init__(self, parts):
            self.parts = parts

        def __call__(self, x):
            for part in self.parts:
                x = part(x)
            return x

    class Halves:
        def __init__(self, num_classes):
            self.classes = num_classes

        def __call__(self, x, y):
            return x / 2, torch.nn.functional.one_hot(y, self.classes) / 2

    v2 = types.SimpleNamespace(Compose=Chain, RandAugment=Same, RandomErasing=Same, MixUp=Halves)
    for name, module in stub(v2).items():
        monkeypatch.setitem(sys.modules, name, module)
    made, mix = augmentations.mixing.__wrapped__()
    x, shares = mix(torch.ones(40, 1, 16, 16), torch.arange(40) % 10)
    assert made == augmentations.TORCHVISION and x.shape == (40, 1, 16, 16) and x.max() == 0.5
    assert shares.shape == (40, 10) and shares.max() == 0.5


@pytest.mark.parametrize("name", study.ALL)
@pytest.mark.parametrize(("canvas", "channels"), [(16, 1), (32, 1), (48, 3)])
def test_nets_take_all_canvases_and_are_small(name, canvas, channels):
    net = study.ALL[name](canvas, channels).eval()
    assert net(torch.rand(2, channels, canvas, canvas)).shape == (2, 10)
    if channels == 1:
        assert sum(one.numel() for one in net.parameters()) < 100_000


@given(st.integers(-8, 8), st.integers(-8, 8))
def test_the_spectrum_does_not_know_of_shifts(down, right):
    torch.manual_seed(5)
    x = torch.rand(3, 1, 16, 16)
    spectrum = vision.Spectrum()
    assert torch.allclose(spectrum(x), spectrum(x.roll((down, right), (-2, -1))), atol=1e-5)


def test_rotary_scores_know_only_where_cells_are_to_each_other():
    torch.manual_seed(6)
    query, key = torch.rand(2, 8)
    angle = vision.angles(4)
    side = vision.SIDE
    every = torch.stack([query, key])[:, None, None].expand(2, 1, side**2, 8)
    turned = vision.rotated(every, angle)[:, 0]
    score = (turned[0] @ turned[1].T).reshape(side, side, side, side)
    for down, right in ((0, 1), (1, 0), (2, 1)):
        same = [
            score[i, j, i + down, j + right]
            for i in range(side - down)
            for j in range(side - right)
        ]
        assert torch.allclose(torch.stack(same), same[0].expand(len(same)), atol=1e-5)
    assert not torch.allclose(score[0, 0, 0, 1], score[0, 0, 1, 0])


def test_accuracies_are_those_of_the_moved_images():
    """A judge that looks at one pixel is right exactly where the image's pixel is."""
    x = torch.zeros(1, 1, 6, 6)
    x[0, 0, 2, 2] = 1

    class Looks(torch.nn.Module):
        def forward(self, x):
            return torch.stack([x[:, 0, 2, 2] < 0.5, x[:, 0, 3, 3] > 0.5], 1) * torch.tensor([1, 2])

    found = study.accuracies(Looks(), x, torch.tensor([1]), 2)
    assert found == [0.0, 0.125, 0.0]
