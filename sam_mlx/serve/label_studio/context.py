"""What a user has pointed at, as prompts: key points, a rectangle, strokes of a brush."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...interop.label_studio import rle_of
from ...masks import decode_rle
from ...web.errors import Refusal

STROKE_POINTS = 8  # that stand for a stroke


@dataclass
class Prompt:
    """Points and a box in pixels of the picture, and the label that was chosen for them."""

    points: list[list[float]] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    box: list[float] | None = None
    label: str | None = None


def prompt_of(regions: Sequence[Mapping[str, Any]], size: tuple[int, int]) -> Prompt:
    """The prompt of a context's regions on a picture of a size, H and W.

    Raises Refusal, 400, where they are damaged or point at nothing.
    """
    prompt = Prompt()
    try:
        for region in regions:
            add(prompt, region, size)
    except (KeyError, TypeError, ValueError) as error:
        raise Refusal(400, f"a region of the context is damaged: {error}") from None
    if not prompt.points and prompt.box is None:
        raise Refusal(400, "the context has neither a key point nor a rectangle nor a stroke")
    return prompt


def add(prompt: Prompt, region: Mapping[str, Any], size: tuple[int, int]) -> None:
    kind, value = str(region["type"]), region["value"]
    positive = int(bool(region.get("is_positive", True)))
    if names := value.get(kind):
        prompt.label = str(names[0])
    scale = np.array(size[::-1]) / 100  # positions are percents of the picture
    if kind.startswith("keypoint"):
        prompt.points.append(finite([value["x"], value["y"]] * scale))
        prompt.labels.append(positive)
    elif kind.startswith("rectangle"):
        corners = np.array([[value["x"], value["y"]]] * 2, float)
        corners[1] += value["width"], value["height"]
        corners *= scale
        prompt.box = finite([*corners.min(axis=0), *corners.max(axis=0)])
    elif kind.startswith(("brush", "bitmask")):
        rle = rle_of(region)
        points = [] if rle is None else spread(decode_rle([rle])[0])
        prompt.points += points
        prompt.labels += [positive] * len(points)


def finite(numbers: Any) -> list[float]:
    found = np.asarray(numbers, float)
    if not np.isfinite(found).all() or (np.abs(found) > 1e6).any():
        raise ValueError(f"it is at {found.tolist()}")
    return [float(number) for number in found]


def spread(mask: np.ndarray) -> list[list[float]]:
    """Up to STROKE_POINTS pixels of a mask (H, W), far from each other: x, y of their middles."""
    pixels = np.argwhere(mask)[:, ::-1] + 0.5
    if not len(pixels):
        return []
    chosen = [pixels[np.square(pixels - pixels.mean(axis=0)).sum(axis=1).argmin()]]
    apart = np.square(pixels - chosen[0]).sum(axis=1)
    while len(chosen) < STROKE_POINTS and apart.max() > 0:
        chosen.append(pixels[apart.argmax()])
        apart = np.minimum(apart, np.square(pixels - chosen[-1]).sum(axis=1))
    return [[float(x), float(y)] for x, y in chosen]
