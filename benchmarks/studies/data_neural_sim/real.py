"""Pictures of real objects in the place of our own: a folder for ``--real``.

The layout of YCB-in-the-Wild itself is not published with the paper's code, which reads posed views
in NeRF's layout and turns a folder of pictures a class into COCO's json. Our reading of it is

    DIR/views/CLASS/transforms.json   NeRF's: frames, each with file_path and transform_matrix
    DIR/views/CLASS/...               the views: RGBA, square, the object's ball fills the picture
    DIR/wild/annotations.json         COCO's: images (id, file_name), annotations (image_id,
                                      category_id, bbox: x, y, width, height), categories (id, name)
    DIR/wild/...                      the pictures

The cameras look at the origin, z is up; of a matrix the camera's place alone is used, its last
column. Each box is a portrait, cut out as a square; each picture is a scene. The category of a box
names the class; boxes of other categories are left out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.studies.data_neural_sim.objects import Views
from benchmarks.studies.data_neural_sim.wild import Labelled
from lego.task import SettingError, require

VIEWS, WILD = "transforms.json", "annotations.json"


@dataclass(frozen=True)
class Real:
    views: Views
    portraits: Labelled
    scenes: Labelled


def read(folder: str, tile: int, scene: int) -> Real:
    """Views and portraits of ``tile`` pixels a side, scenes of ``scene``.

    Raises SettingError for a folder of another layout.
    """
    root = Path(folder)
    classes = sorted(path.parent for path in root.glob(f"views/*/{VIEWS}"))
    require(len(classes) > 1, "real", folder, f"a folder with views/CLASS/{VIEWS} of 2 classes")
    require((root / "wild" / WILD).is_file(), "real", folder, f"a folder with wild/{WILD}")
    try:
        views = read_views(classes, tile)
        return Real(views, *read_wild(root / "wild", views.names, tile, scene))
    except (KeyError, TypeError, ValueError, OSError) as error:
        if isinstance(error, SettingError):
            raise
        raise SettingError("real", folder, f"the layout of real.py ({error!r})") from error


def read_views(classes: Iterable[Path], size: int) -> Views:
    """As many views of each class as there are of the one with the fewest."""
    rgba, places = [], []
    for path in classes:
        frames = json.loads((path / VIEWS).read_text())["frames"]
        opened = [Image.open(_picture(path / frame["file_path"])) for frame in frames]
        small = [np.asarray(one.convert("RGBA").resize((size, size), Image.Resampling.BOX))
                 for one in opened]  # fmt: skip
        rgba.append(np.stack(small) / 255)
        matrices = np.array([frame["transform_matrix"] for frame in frames], float)
        places.append(matrices[:, :3, 3])
    fewest = min(map(len, rgba))
    pictures = np.stack([one[:fewest] for one in rgba]).transpose(0, 1, 4, 2, 3)
    pictures = np.concatenate([pictures[:, :, :3] * pictures[:, :, 3:], pictures[:, :, 3:]], 2)
    x, y, z = np.moveaxis(np.stack([one[:fewest] for one in places]), -1, 0)
    angles = (np.arctan2(y, x), np.arctan2(z, np.hypot(x, y)))
    tensors = (torch.tensor(one, dtype=torch.float32) for one in (pictures, *angles))
    return Views(tuple(path.name for path in classes), *tensors)


def _picture(path: Path) -> Path:
    return path if path.suffix else path.with_suffix(".png")  # NeRF's own leave the ending out


def read_wild(
    folder: Path, names: tuple[str, ...], tile: int, scene: int
) -> tuple[Labelled, Labelled]:
    """Portraits and scenes of all annotated pictures with a box of these classes."""
    noted = json.loads((folder / WILD).read_text())
    label = {one["id"]: names.index(one["name"]) for one in noted["categories"]
             if one["name"] in names}  # fmt: skip
    by_image: dict[Any, list[dict[str, Any]]] = {}
    for one in noted["annotations"]:
        if one["category_id"] in label:
            by_image.setdefault(one["image_id"], []).append(one)
    whole: list[np.ndarray] = []
    boxes, labels, parts, classes = [], [], [], []
    for about in noted["images"]:
        inside = by_image.get(about["id"], [])
        if not inside:
            continue
        picture = Image.open(folder / about["file_name"]).convert("RGB")
        whole.append(_shrunk(picture, (0, 0, *picture.size), scene))
        across = np.array([one["bbox"] for one in inside], float)
        corners = np.hstack([across[:, :2], across[:, :2] + across[:, 2:]])
        boxes.append(corners * scene / np.tile(picture.size, 2))
        labels.append(np.array([label[one["category_id"]] for one in inside]))
        for x, y, wide, high in across:
            half = max(wide, high) / 2
            centre = (x + wide / 2, y + high / 2)
            square = tuple(c + side for side in (-half, half) for c in centre)
            parts.append(_shrunk(picture, square, tile))
        classes += [one[None] for one in labels[-1]]
    require(len(whole) > 1, "real", str(folder), f"pictures with boxes of {', '.join(names)}")
    full = [np.array([[0.0, 0, tile, tile]])] * len(parts)
    return Labelled(np.stack(parts), full, classes), Labelled(np.stack(whole), boxes, labels)


def _shrunk(picture: Image.Image, box: tuple[float, ...], size: int) -> np.ndarray:
    """The part of a picture in ``box``, grey where that is outside, as (3, size, size)."""
    left, top = math.floor(box[0]), math.floor(box[1])
    right, bottom = max(math.ceil(box[2]), left + 1), max(math.ceil(box[3]), top + 1)
    canvas = Image.new("RGB", (right - left, bottom - top), (128, 128, 128))
    canvas.paste(picture, (-left, -top))
    small = np.asarray(canvas.resize((size, size), Image.Resampling.BOX), np.float32)
    return small.transpose(2, 0, 1) / 255


def halves(
    whole: Labelled, counts: tuple[int, int], rng: np.random.Generator
) -> tuple[Labelled, Labelled]:
    """Pictures for validation and others for the test: at most ``counts``, and half of all."""
    order = rng.permutation(len(whole.pictures))
    middle = min(counts[0], len(order) // 2)
    first, second = order[:middle], order[middle : middle + counts[1]]
    return _some(whole, first), _some(whole, second)


def _some(whole: Labelled, chosen: np.ndarray) -> Labelled:
    boxes, labels = ([those[n] for n in chosen] for those in (whole.boxes, whole.labels))
    return Labelled(whole.pictures[chosen], boxes, labels)
