"""Pictures of results: masks as tints with contours, prompts on top."""

import colorsys
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

TINT = 0.45  # opacity of a mask
MARKERS = {1: (40, 200, 80), 0: (230, 50, 50)}  # foreground, background points


def palette(count: int) -> np.ndarray:
    """(count, 3) uint8 colours; neighbours in the list differ much in hue."""
    hues = (0.58 + 0.618034 * np.arange(count)) % 1  # the golden ratio spreads any number of them
    colours = [colorsys.hsv_to_rgb(h, 0.75 - 0.2 * (i % 2), 1) for i, h in enumerate(hues)]
    return (np.array(colours).reshape(-1, 3) * 255).round().astype(np.uint8)


def draw_overlay(
    image: np.ndarray,
    masks: np.ndarray | Sequence[np.ndarray],
    point_coords: np.ndarray | None = None,
    point_labels: np.ndarray | None = None,
    box: np.ndarray | None = None,
) -> Image.Image:
    """Draw masks (N, H, W) bool over an image (H, W, 3) uint8, later ones on top.

    Prompts, in pixels of the image, are drawn as dots (green foreground, red background) and a
    frame.
    """
    canvas = image.astype(np.float32)
    line = max(1, round(max(image.shape[:2]) / 500))  # contour width in pixels
    for mask, colour in zip(masks, palette(len(masks))):
        canvas[mask] += TINT * (colour - canvas[mask])
        edge = mask & ~_erode(mask, line)
        canvas[edge] = 0.35 * colour + 0.65 * 255
    picture = Image.fromarray(canvas.round().astype(np.uint8))
    if point_coords is None and box is None:
        return picture
    return _draw_prompts(picture, point_coords, point_labels, box)


def _erode(mask: np.ndarray, steps: int) -> np.ndarray:
    """Pixels whose four neighbours are in the mask, ``steps`` times; outside the image none is."""
    for _ in range(steps):
        padded = np.pad(mask, 1)
        mask = mask & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask


def _draw_prompts(
    picture: Image.Image,
    point_coords: np.ndarray | None,
    point_labels: np.ndarray | None,
    box: np.ndarray | None,
) -> Image.Image:
    zoom = 4  # drawn large, then reduced: ImageDraw does not antialias
    radius = max(3.0, max(picture.size) / 110)
    if box is not None:
        line = max(2, round(radius / 2.5))
        ImageDraw.Draw(picture).rectangle([float(v) for v in box], outline=MARKERS[1], width=line)
    for (x, y), label in zip(
        *(
            () if point_coords is None else point_coords,
            () if point_labels is None else point_labels,
        )
    ):
        size = int(2 * radius + 3)
        dot = Image.new("RGBA", (size * zoom, size * zoom), (255, 255, 255, 0))
        pen, middle = ImageDraw.Draw(dot), size * zoom / 2
        for r, colour in ((radius, (255, 255, 255)), (radius * 0.72, MARKERS.get(int(label)))):
            if colour:
                pen.ellipse(
                    [middle - r * zoom, middle - r * zoom, middle + r * zoom, middle + r * zoom],
                    colour,
                )
        dot = dot.resize((size, size), Image.Resampling.BOX)
        picture.paste(dot, (round(x - size / 2), round(y - size / 2)), dot)
    return picture
