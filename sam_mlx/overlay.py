"""Pictures of results: masks as tints with contours, prompts on top."""

import colorsys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw

from .arrays import check_rgb, count_of, to_finite, to_numbers
from .images import Source, load_image
from .machine.budget import budget
from .masks import check_mask, decode_rle, mask_boxes
from .samples import Range

Box = tuple[slice, slice]  # rows and columns

MAX_RADIUS = 150.0  # of a point's dot, pixels: that of a picture of 16500
TINT = 0.45  # opacity of a mask
VIVID = 24  # colours at the head of the palette; hundreds of them would glare
# From Oklab to cube roots of cones' responses, and from these responses to linear sRGB.
CONES = np.array(
    [
        [1, 0.3963377774, 0.2158037573],
        [1, -0.1055613458, -0.0638541728],
        [1, -0.0894841775, -1.2914855480],
    ]
)
LINEAR = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)
MARKERS = {1: (40, 200, 80), 0: (230, 50, 50)}  # foreground, background points


def palette(count: int) -> np.ndarray:
    """(count, 3) uint8 colours; neighbours in the list differ widely in hue."""
    return palette_at(np.arange(count))


def palette_at(places: np.ndarray) -> np.ndarray:
    """(N, 3) uint8: the colours of these places in the palette."""
    hues = (0.58 + 0.618034 * places) % 1  # the golden ratio spreads any number of them
    found = _calm(places, hues)
    for k in np.flatnonzero(places < VIVID):
        found[k] = colorsys.hsv_to_rgb(hues[k], 0.75 - 0.2 * (places[k] % 2), 1)
    return (found * 255).round().astype(np.uint8)


def _calm(places: np.ndarray, hues: np.ndarray) -> np.ndarray:
    """(N, 3): colours of one chroma and three lightnesses in turn, as colours.js has them."""
    lightness = 0.62 + 0.08 * (2 * places % 3)
    angles = 2 * np.pi * hues
    lab = np.stack([lightness, 0.1 * np.cos(angles), 0.1 * np.sin(angles)], axis=1)
    linear = (lab @ CONES.T) ** 3 @ LINEAR.T
    return 1.055 * linear ** (1 / 2.4) - 0.055  # none is dark enough for sRGB's linear part


def hex_colour(i: int) -> str:
    """Colour ``i`` of the palette as #rrggbb."""
    return f"#{palette_at(np.arange(i, i + 1))[0].tobytes().hex()}"


def show(
    image: Source,
    masks: ArrayLike | Sequence[Any] = (),
    point_coords: ArrayLike | None = None,
    point_labels: ArrayLike | None = None,
    box: ArrayLike | None = None,
) -> Image.Image:
    """A picture with masks drawn over it: a PIL image, which a notebook displays by itself.

    image: what ``SamPredictor.set_image`` takes. masks: (H, W) or (N, H, W), bool, or logits, whose
    masks are where they are above 0; a label map (H, W) of whole numbers, in which 0 is no mask;
    or records, as ``SamAutomaticMaskGenerator`` gives in any output mode. Small masks lie on large
    ones. point_coords, point_labels, box: a prompt in pixels, drawn on top.

    Raises ValueError for a picture that cannot be read and for masks of another size.

    >>> from importlib.resources import files
    >>> import sam_mlx
    >>> coins = files("sam_mlx") / "assets" / "coins.png"
    >>> predictor = sam_mlx.SamPredictor.from_pretrained("nano")
    >>> predictor.set_image(coins)
    >>> masks, scores, _ = predictor.predict([[138, 53]], [1])
    >>> sam_mlx.show(coins, masks[scores.argmax()], [[138, 53]], [1]).size
    (256, 256)
    """
    drawn = sorted(masks_of(masks), key=lambda mask: -int(mask.sum()))
    return draw_overlay(load_image(image), drawn, point_coords, point_labels, box)


@dataclass(repr=False)
class Shown:
    """What ``SamPredictor.show`` draws: a picture, and the last answer about it."""

    image: tuple[Source, str, Range | None] | None = None  # what ``load_image`` takes
    prompt: tuple[ArrayLike | None, ...] = ()  # points, labels and box
    logits: np.ndarray | None = None  # (1, 4G, 4G) of the best mask

    def draw(self, enlarge: Callable[[np.ndarray], np.ndarray]) -> Image.Image:
        """enlarge: makes masks (1, 1, H, W) of logits. Raises RuntimeError without a picture."""
        if self.image is None:
            raise RuntimeError(
                "no picture to show: call set_image(image) before. Of embeddings and large "
                "pictures only the caller has it: sam_mlx.show(picture, masks)"
            )
        masks = () if self.logits is None else enlarge(self.logits[None])[0]
        return show(load_image(*self.image), masks, *self.prompt)


def masks_of(given: ArrayLike | Sequence[Any]) -> list[np.ndarray]:
    """Masks (H, W), bool, from whatever ``show`` takes."""
    if isinstance(given, Sequence):
        records = [record for record in given if isinstance(record, Mapping)]
        if len(records) == len(given):
            return [mask_of(record) for record in records]
    array = to_numbers(given, "masks")
    if array.ndim == 2 and array.dtype.kind in "iu":
        return [array == label for label in np.unique(array) if label != 0]
    if array.ndim not in (2, 3):
        raise ValueError(f"masks has shape {array.shape}; expected (H, W), (N, H, W) or records")
    return list((array > 0).reshape(-1, *array.shape[-2:]))


def mask_of(record: Mapping[str, Any]) -> np.ndarray:
    """A record's mask (H, W). Raises ValueError for a record without one."""
    if "segmentation" not in record:
        raise ValueError(f"a record has {', '.join(map(str, record))}; expected a segmentation")
    mask = record["segmentation"]
    return decode_rle([mask])[0] if isinstance(mask, dict) else check_mask(mask, "masks")


def draw_overlay(
    image: np.ndarray,
    masks: np.ndarray | Sequence[np.ndarray],
    point_coords: ArrayLike | None = None,
    point_labels: ArrayLike | None = None,
    box: ArrayLike | None = None,
) -> Image.Image:
    """Draw masks (N, H, W) bool over an image (H, W, 3) uint8, later ones on top.

    Prompts, in pixels of the image, are drawn as dots (green foreground, red background) and a
    frame. The picture is tinted in strips, only within the masks' boxes; a mask is requested once,
    and once more in each strip that it reaches, so ``masks`` may make it on demand.
    """
    check_rgb(image)
    count_of(masks, "masks")
    prompts = _prompts(point_coords, point_labels, box)
    height, width = image.shape[:2]
    boxes = [_rows_and_columns(check_mask(mask, "masks"), (height, width)) for mask in masks]
    picture = Image.fromarray(image)
    step = max(1, budget().drawn_pixels // width)
    for top in range(0, height, step):
        bottom = min(top + step, height)
        here = [i for i, (rows, _) in enumerate(boxes) if rows.start < bottom and rows.stop > top]
        if here:
            strip = _tinted(image, slice(top, bottom), masks, boxes, here)
            picture.paste(Image.fromarray(strip), (0, top))
    if point_coords is None and box is None:
        return picture
    return _draw_prompts(picture, *prompts)


def _rows_and_columns(mask: np.ndarray, size: tuple[int, int]) -> Box:
    """Rows and columns from the first to the last in which a mask is set; the first if empty."""
    if mask.shape != size:
        raise ValueError(f"masks has a mask of size {mask.shape}; the image has {size}")
    x0, y0, x1, y1 = mask_boxes(mask[None])[0].tolist()
    return slice(y0, y1 + 1), slice(x0, x1 + 1)


def _tinted(
    image: np.ndarray,
    strip: slice,
    masks: np.ndarray | Sequence[np.ndarray],
    boxes: list[Box],
    here: list[int],
) -> np.ndarray:
    """The rows ``strip`` of an image under the masks ``here``."""
    height, width = image.shape[:2]
    # Contour width in pixels; of one that is half as wide as the picture nothing is inside.
    line = max(1, min(round(max(height, width) / 500), -(-min(height, width) // 2)))
    colours = palette(len(boxes))
    # One plane for each channel: numpy is slow over a last axis of three.
    canvas = np.ascontiguousarray(image[strip].transpose(2, 0, 1), np.float32)
    for i in here:
        rows, columns = boxes[i]
        top, bottom = max(rows.start, strip.start), min(rows.stop, strip.stop)
        # The rows next to the strip decide where contours are.
        first, last = max(rows.start, top - line), min(rows.stop, bottom + line)
        mask = np.ascontiguousarray(check_mask(masks[i])[first:last, columns])
        part = canvas[:, top - strip.start : bottom - strip.start, columns]
        inner = slice(top - first, bottom - first)
        _tint(part, mask[inner], (mask & ~_erode(mask, line))[inner], colours[i])
    return np.ascontiguousarray(canvas.round(out=canvas).astype(np.uint8).transpose(1, 2, 0))


def _tint(canvas: np.ndarray, mask: np.ndarray, edge: np.ndarray, colour: np.ndarray) -> None:
    """Blend a colour (3,) into planes (3, H, W) float32 where the mask is, in place."""
    opacity = np.where(mask, np.float32(TINT), np.float32(0))
    for plane, value in zip(canvas, colour):
        change = np.float32(value) - plane
        change *= opacity
        plane += change
        plane[edge] = 0.35 * value + 0.65 * 255


def _erode(mask: np.ndarray, steps: int) -> np.ndarray:
    """Pixels whose four neighbours are in the mask, ``steps`` times; beyond the edge none are."""
    for _ in range(steps):
        before, mask = mask, mask.copy()
        mask[1:] &= before[:-1]
        mask[:-1] &= before[1:]
        mask[:, 1:] &= before[:, :-1]
        mask[:, :-1] &= before[:, 1:]
        mask[[0, -1]] = mask[:, [0, -1]] = False
    return mask


def _prompts(
    point_coords: ArrayLike | None, point_labels: ArrayLike | None, box: ArrayLike | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Points (N, 2) and labels (N,), and a box (4,) or None; ValueError for others."""
    coords, labels = (
        np.zeros(0) if given is None else to_finite(to_numbers(given, name), name)
        for given, name in ((point_coords, "point_coords"), (point_labels, "point_labels"))
    )
    coords = coords.reshape(0, 2) if coords.size == 0 else coords
    if coords.ndim != 2 or coords.shape[1] != 2 or labels.shape != coords.shape[:1]:
        raise ValueError(
            f"point_coords has shape {coords.shape} and point_labels {labels.shape}; expected "
            "(N, 2) and (N,)"
        )
    if box is None:
        return coords, labels, None
    corners = to_finite(to_numbers(box, "box"), "box")
    if corners.shape not in ((4,), (1, 4)):
        raise ValueError(f"box has shape {corners.shape}; expected (4,): x0, y0, x1, y1 in pixels")
    return coords, labels, corners.reshape(4)


def _draw_prompts(
    picture: Image.Image, coords: np.ndarray, labels: np.ndarray, box: np.ndarray | None
) -> Image.Image:
    zoom = 4  # drawn large, then reduced: ImageDraw does not antialias
    radius = min(max(3.0, max(picture.size) / 110), MAX_RADIUS)
    size = int(2 * radius + 3)
    if box is not None:
        line = max(2, round(radius / 2.5))
        # What is far outside is not seen, and too far for Pillow.
        ends = np.clip(box, -2 * line, np.tile(picture.size, 2) + 2 * line).tolist()
        ImageDraw.Draw(picture).rectangle(ends, outline=MARKERS[1], width=line)
    for (x, y), label in zip(coords, labels):
        if not (-size < x < picture.width + size and -size < y < picture.height + size):
            continue
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
