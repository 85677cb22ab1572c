"""``sam-mlx predict PICTURE --boxes FILE``: an object for each feature of a vector file."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from tqdm import tqdm

from ..files import temporary_folder, user_path, write_whole
from ..formats.large import LARGE_FORMATS, LargeFormat, LargeResult, Spool
from ..large import Answer, LargeImage, Window, open_large
from ..large.vectors import Features, read_features
from ..masks import stability_scores
from ..messages import some
from ..predictor import SamPredictor
from ..terminal import say
from ..tiled.found import Found
from .common import load_model
from .large import opening


def run(args: argparse.Namespace) -> int:
    """Write a mask for each feature; returns the exit code, 1 where some are left out."""
    if args.point or args.negative or args.box or args.mask_input:
        raise ValueError("--boxes takes prompts from a file: leave out --point, --box and the like")
    output, format = target(args.output)
    picture = open_large(args.image, **opening(args))
    features = read_features(args.boxes, picture.place, args.layer)
    inside, left_out = chosen(features, picture)
    if len(inside) == 0:
        raise ValueError(f"{args.boxes} has no feature on the picture {args.image}: {left_out}")
    predictor = SamPredictor(load_model(args))
    predictor.set_image(picture)
    height, width = picture.size
    with temporary_folder(output.parent) as folder:
        spool = Spool.write(folder / "masks", masks_of(predictor, features, inside))
        result = LargeResult(picture, Window(0, 0, width, height), spool)
        write_whole(output, partial(format.write, result))
    say(f"{some(len(inside), 'feature')} asked about, masks in {output}")
    if len(inside) == len(features.points) + features.empty:
        return 0
    say(f"left out: {left_out}")
    return 1


def target(path: str) -> tuple[Path, LargeFormat]:
    """The file to write, and the format that its ending names."""
    output = user_path(path)
    fitting = [f for f in LARGE_FORMATS.values() if output.name.endswith(f.ending)]
    if not fitting:
        endings = ", ".join(format.ending for format in LARGE_FORMATS.values())
        raise ValueError(f"-o is {path}; expected a file with one of the endings {endings}")
    if not output.parent.is_dir():
        raise FileNotFoundError(f"no such folder: {output.parent}")
    return output, max(fitting, key=lambda format: len(format.ending))


def chosen(features: Features, picture: LargeImage) -> tuple[np.ndarray, str]:
    """The features to ask about, and in words how many are not."""
    on_it = [i for i, points in enumerate(features.points) if meets(points, picture)]
    boxes = features.boxes()
    inside = [i for i in on_it if picture.has_values(*boxes[i])]
    beside, valueless = len(features.points) - len(on_it), len(on_it) - len(inside)
    left_out = f"{features.empty} without a geometry, {beside} beside the picture"
    if valueless:
        left_out += f", {valueless} where no pixel has a value"
    return np.array(inside, int), left_out


def meets(points: np.ndarray, picture: LargeImage) -> bool:
    """Whether a feature lies on the picture, at least in part."""
    height, width = picture.size
    low, high = points.min(axis=0), points.max(axis=0)
    return bool((high >= 0).all() and (low < (width, height)).all())


def masks_of(predictor: SamPredictor, features: Features, inside: np.ndarray) -> Iterator[Found]:
    """The best mask for each feature: a box round a shape, a click for a point."""
    boxes = features.boxes()
    index = inside.tolist()
    is_point = [features.are_points[i] for i in index]
    clicks = [boxes[i, None, :2] if point else None for i, point in zip(index, is_point)]
    labels = [[1] if point else None for point in is_point]
    asked: list[Any] = [None if point else boxes[i] for i, point in zip(index, is_point)]
    answers = predictor.windows.predict_each(clicks, labels, asked, None, True, True)
    for answer, i in zip(tqdm(answers, total=len(index), unit="mask", disable=None), index):
        middle = (boxes[i, :2] + boxes[i, 2:]) / 2
        found = best(answer, (float(middle[0]), float(middle[1])))
        if found is None:
            say(f"no mask for feature {features.numbers[i] + 1}: it is empty", error=True)
        else:
            yield replace(found, number=features.numbers[i] + 1)


def best(answer: Answer, point: tuple[float, float]) -> Found | None:
    """The mask with the highest predicted IoU; None if no pixel of it is set."""
    i, window = int(answer.scores.argmax()), answer.window
    scale, (x, y) = window.scale, (window.x, window.y)
    mask = answer.masks[i] > 0
    if not mask.any():
        return None
    stability = np.array(stability_scores(mx.array(answer.masks[i : i + 1])))
    stable = float(np.nan_to_num(stability[0]))
    return Found.of(
        mask, (x // scale, y // scale), predicted_iou=float(answer.scores[i]),
        stability_score=stable, point=(point[0] / scale, point[1] / scale),
        tile=tuple(n // scale for n in window.box), scale=scale,
    )  # fmt: skip
