"""Plain functions on masks: run lengths, boxes, stability, suppression, regions, outlines.

Masks are bool, (N, H, W) or (H, W), in numpy or MLX; numbers that are all 0 or 1 count as bool,
and others are refused, as they are set or not depending on the threshold meant.

Points are x, y and boxes x0, y0, x1, y1 in pixels; a mask's box names its outermost pixels, so x1
and y1 are inclusive and a single pixel's box has no area. Records hold boxes as x, y, width,
height with width = x1 - x0, as the original has it: one less than the number of columns. COCO
counts the columns (``rle_bbox``), and so do ``coco_annotations``.

An uncompressed RLE is ``{"size": [H, W], "counts": [...]}``: lengths of alternating runs of
unset and set pixels, column by column, beginning with unset ones. Compressed (COCO's) RLE has
the same counts as a string, which pycocotools has as bytes: either is taken wherever an RLE is.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import mlx.core as mx
import numpy as np

from .messages import short

Rle = dict[str, Any]  # size and counts
Record = dict[str, Any]  # of ``SamAutomaticMaskGenerator``
Array = TypeVar("Array", bound="mx.array | np.ndarray")

NMS_BLOCK = 1024  # boxes compared at a time: bounds the memory of the pairwise overlaps
MAX_DIGITS = 12  # of a number in compressed RLE, 5 bits each: more do not fit an int64


def check_masks(masks: Array, name: str = "masks", axes: str = "(N, H, W)") -> Array:
    """Masks as bool, in numpy or MLX as they came; ValueError for what is no mask."""
    found: Any = masks if isinstance(masks, mx.array) else np.asarray(masks)
    if found.ndim != axes.count(",") + 1:
        raise ValueError(f"{name} has shape {tuple(found.shape)}; expected {axes}")
    if found.dtype in (mx.bool_, np.bool_):
        return found
    is_set = found == 1
    if not bool(((found == 0) | is_set).all()):
        raise ValueError(
            f"{name} has dtype {found.dtype} and values other than 0 and 1; "
            f"expected bool: pass {name} > 0"
        )
    return is_set


def check_mask(mask: Array, name: str = "mask") -> np.ndarray:
    """A mask (H, W) as bool in numpy."""
    return np.asarray(check_masks(mask, name, "(H, W)"))


def encode_rle(masks: Array) -> list[Rle]:
    """Uncompressed RLE of masks (N, H, W) (``mask_to_rle_pytorch``)."""
    masks = check_masks(masks)
    N, H, W = masks.shape
    if N and H * W == 0:
        raise ValueError(f"masks has shape {tuple(masks.shape)}: it holds no pixels")
    return [run_lengths(mask, (0, 0), (H, W)) for mask in np.asarray(masks)]


def run_lengths(part: np.ndarray, corner: tuple[int, int], size: tuple[int, int]) -> Rle:
    """Uncompressed RLE of a mask of ``size``, H and W, that is set within ``part`` alone, (h, w),
    whose upper left pixel is at ``corner``, y and x.
    """
    (top, left), (H, W) = corner, size
    columns = np.pad(part.T, ((0, 0), (1, 1)))  # so that all begin and end unset
    column, row = np.divmod(np.flatnonzero(columns[:, 1:] != columns[:, :-1]), len(part) + 1)
    ends = (column + left) * H + row + top
    # Where a run reaches a column's end and the next begins with the next column, they are one.
    meets = np.flatnonzero(ends[1:] == ends[:-1])
    ends = np.delete(ends, np.concatenate([meets, meets + 1]))
    if len(ends) == 0 or ends[-1] < H * W:
        ends = np.append(ends, H * W)
    return {"size": [H, W], "counts": np.diff(ends, prepend=0).tolist()}


def decode_rle(rles: Sequence[Rle]) -> np.ndarray:
    """Bool masks (N, H, W) of RLEs of one size, compressed or not (``rle_to_mask``).

    Raises ValueError for RLEs that are malformed, or do not fill their size.
    """
    sizes = {rle_size(rle) for rle in rles}
    if len(sizes) != 1:
        raise ValueError(f"the RLEs have sizes {sorted(sizes)}; expected one or more of one size")
    H, W = sizes.pop()
    counts = [rle_counts(rle) for rle in rles]
    for i, runs in enumerate(counts):
        if sum(runs) != H * W:
            raise ValueError(f"RLE {i} covers {sum(runs)} pixels; its size {(H, W)} has {H * W}")
    lengths = np.array([len(runs) for runs in counts])
    place = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    pixels = np.repeat(place % 2 == 1, np.concatenate(counts))
    return pixels.reshape(len(rles), W, H).swapaxes(1, 2)


def rle_size(rle: Rle) -> tuple[int, int]:
    """Height and width of an RLE."""
    if not isinstance(rle, Mapping) or not {"size", "counts"} <= rle.keys():
        raise ValueError(f"{short(rle)} is no RLE; expected size and counts")
    try:
        height, width = map(operator.index, rle["size"])
    except (TypeError, ValueError):
        height = width = 0
    if min(height, width) < 1:
        raise ValueError(f"an RLE has size {short(rle['size'])}; expected whole H, W above 0")
    return height, width


def rle_counts(rle: Rle) -> list[int]:
    """Run lengths of one RLE, compressed or not; ValueError where they are malformed."""
    counts = rle["counts"]
    try:
        runs = _parse_counts(counts) if isinstance(counts, (str, bytes)) else np.asarray(counts)
    except ValueError:  # too long for a number, or lists of several lengths
        runs = np.array(math.nan)
    if runs.ndim != 1 or (runs.size and (runs.dtype.kind not in "iu" or runs.min() < 0)):
        raise ValueError(
            f"an RLE has counts {short(counts)}; expected lengths of runs, none below 0, "
            "or their compressed form"
        )
    return runs.tolist()


def rle_area(rle: Rle) -> int:
    """Number of set pixels (``area_from_rle``)."""
    return int(sum(rle_counts(rle)[1::2]))


def rle_bbox(rle: Rle) -> list[int]:
    """COCO's box of an RLE: x, y, and how many columns and rows it spans (``toBbox``)."""
    height, _ = rle_size(rle)
    ends = np.cumsum(rle_counts(rle))
    first, last = ends[:-1:2], ends[1::2] - 1  # of each run of set pixels, column by column
    first, last = first[first <= last], last[first <= last]
    if len(first) == 0:
        return [0, 0, 0, 0]
    x, right = int(first[0]) // height, int(last[-1]) // height
    if (first // height != last // height).any():  # one that goes on in the next column
        return [x, 0, right - x + 1, height]
    y, bottom = int((first % height).min()), int((last % height).max())
    return [x, y, right - x + 1, bottom - y + 1]


def compress_rle(rles: Sequence[Rle]) -> list[Rle]:
    """RLEs with their counts as strings, as pycocotools writes them (``coco_encode_rle``).

    What is compressed already, as str or bytes, comes out with counts as str.
    From the fourth on, a run is stored as its difference from the one two before.
    """
    if not rles:
        return []
    deltas = []
    for rle in rles:
        counts = np.asarray(rle_counts(rle), np.int64)
        deltas.append(np.concatenate([counts[:3], counts[3:] - counts[1:-2]]))
    text, lengths = _write_numbers(np.concatenate(deltas))
    owner = np.repeat(np.arange(len(rles)), [len(delta) for delta in deltas])
    ends = np.cumsum(np.bincount(owner, lengths, len(rles)).astype(int))
    return [
        {"size": list(rle_size(rle)), "counts": text[a:b]}
        for rle, a, b in zip(rles, [0, *ends[:-1].tolist()], ends.tolist())
    ]


def _write_numbers(numbers: np.ndarray) -> tuple[str, np.ndarray]:
    """All numbers in a row, and how many characters each takes.

    They are written in 5-bit digits from the lowest, +32 where another follows, from the
    character "0".
    """
    rest = numbers.copy()
    characters, present = [], []
    going = np.ones(len(rest), bool)
    while going.any():
        digit = rest & 31
        rest >>= 5
        present.append(going)
        # A number may stop when its sign, the top bit of the last digit, is right.
        going = going & (rest != np.where(digit & 16, -1, 0))
        characters.append(digit + 48 + 32 * going)
    used = np.stack(present, axis=1)
    text = np.stack(characters, axis=1)[used].astype(np.uint8).tobytes().decode("ascii")
    return text, used.sum(axis=1)


def _parse_counts(text: str | bytes) -> np.ndarray:
    """The numbers that ``_write_numbers`` wrote, with the differences undone, as int64."""
    data = text.encode() if isinstance(text, str) else text
    codes = np.frombuffer(data, np.uint8).astype(np.int64) - 48
    if len(codes) == 0:
        return codes
    last = codes & 32 == 0
    number = np.cumsum(last) - last
    start = np.flatnonzero(np.concatenate([[True], last[:-1]]))
    place = np.arange(len(codes)) - start[number]
    if codes.min() < 0 or codes.max() > 63 or not last[-1] or place.max() >= MAX_DIGITS:
        raise ValueError("no compressed counts")
    values = np.zeros(last.sum(), np.int64)
    np.add.at(values, number, (codes & 31) << (5 * place))
    negative = codes[last] & 16 != 0
    values -= negative * (1 << 5 * (place[last] + 1))
    for offset in (1, 2):
        values[offset::2] = np.cumsum(values[offset::2])
    return values


def mask_boxes(masks: Array) -> Array:
    """Boxes (N, 4) of masks (N, H, W); zeros for an empty mask (``batched_mask_to_box``)."""
    masks = check_masks(masks)
    columns, rows = masks.sum(axis=1), masks.sum(axis=2)
    boxes = profile_boxes(mx.array(columns), mx.array(rows))
    as_given: Any = boxes if isinstance(masks, mx.array) else np.array(boxes)
    return as_given


def profile_boxes(columns: mx.array, rows: mx.array) -> mx.array:
    """Boxes (N, 4), int32, from the pixels in each column (N, W) and in each row (N, H)."""
    if len(columns) == 0:
        return mx.zeros((0, 4), dtype=mx.int32)

    def ends(counts: mx.array) -> tuple[mx.array, mx.array]:
        is_set = counts > 0
        first = mx.argmax(is_set, axis=1).astype(mx.int32)
        last = counts.shape[1] - 1 - mx.argmax(is_set[:, ::-1], axis=1).astype(mx.int32)
        return first, mx.where(is_set.any(axis=1), last, 0)

    (x0, x1), (y0, y1) = ends(columns), ends(rows)
    return mx.stack([x0, y0, x1, y1], axis=1)


def stability_scores(logits: mx.array, threshold: float = 0.0, offset: float = 1.0) -> mx.array:
    """How little masks depend on the threshold, (N,), from logits (N, H, W).

    The IoU of the masks above ``threshold + offset`` and above ``threshold - offset``; NaN when
    both are empty (``calculate_stability_score``).
    """
    return stability_ratio(*stability_counts(logits, threshold, offset))


def stability_counts(
    logits: mx.array, threshold: float, offset: float, inside: mx.array | bool = True
) -> tuple[mx.array, mx.array]:
    """Pixels (...,) above ``threshold + offset`` and above ``threshold - offset``, of logits
    (..., H, W) where ``inside``.
    """
    inner, outer = ((logits > threshold + sign * offset) & inside for sign in (1, -1))
    return inner.sum(axis=(-2, -1)), outer.sum(axis=(-2, -1))


def stability_ratio(inner: mx.array, outer: mx.array, empty: float = math.nan) -> mx.array:
    """The stability score of two counts of pixels; ``empty`` where both are 0.

    NaN, as in the original, passes no threshold; exported files say 0, which apps can show.
    """
    return mx.where(outer > 0, inner / mx.maximum(outer, 1), empty)


def box_area(boxes: np.ndarray) -> np.ndarray:
    """Areas (N,) of boxes (N, 4)."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def to_xywh(boxes: np.ndarray) -> np.ndarray:
    """Boxes (..., 4) from x0, y0, x1, y1 to x, y, width, height (``box_xyxy_to_xywh``)."""
    return np.concatenate([boxes[..., :2], boxes[..., 2:] - boxes[..., :2]], axis=-1)


def nms(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> np.ndarray:
    """Indices of the boxes (N, 4) to keep, best score first; equal to ``torchvision.ops.nms``.

    A box goes when a kept one with a higher score, or an equal one and listed earlier, overlaps
    it by an IoU above ``threshold``. A box without area overlaps nothing, itself included.
    """
    order = np.argsort(-np.asarray(scores, np.float32), kind="stable")
    # In numpy: other devices do not round divisions as torchvision on a CPU does.
    boxes = np.asarray(boxes, np.float32)[order]
    kept = np.zeros(0, int)
    for start in range(0, len(boxes), NMS_BLOCK):
        block = np.arange(start, min(start + NMS_BLOCK, len(boxes)))
        free = np.ones(len(block), bool)
        for i in range(0, len(kept), NMS_BLOCK):
            overlaps = box_iou(boxes[kept[i : i + NMS_BLOCK]], boxes[block]) > float(threshold)
            free &= ~overlaps.any(axis=0)
        block = block[free]
        overlaps = np.triu(box_iou(boxes[block], boxes[block]) > float(threshold), k=1)
        keep = _greedy(overlaps)
        kept = np.concatenate([kept, block[keep]])
    return order[kept]


def _greedy(overlaps: np.ndarray) -> np.ndarray:
    """Which of N are kept when each, in order, is dropped if a kept one before overlaps it.

    Repeats "dropped by what is kept so far" until it holds: each round settles at least one more
    link of every chain of overlaps, and chains are short.
    """
    keep: np.ndarray = np.ones(len(overlaps), bool)
    while True:
        settled: np.ndarray = ~overlaps[keep].any(axis=0)
        if (settled == keep).all():
            return keep
        keep = settled


def box_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IoU (N, M), float32, of boxes (N, 4) and (M, 4); NaN for two without area."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=2)
    with np.errstate(invalid="ignore", divide="ignore"):
        return shared / (box_area(a)[:, None] + box_area(b)[None] - shared)


def remove_small_regions(mask: np.ndarray, min_area: float, mode: str) -> tuple[np.ndarray, bool]:
    """Fill ``mode="holes"`` or drop ``"islands"`` of fewer than ``min_area`` pixels.

    mask: (H, W). Regions touch also at corners. When every island is too small the largest
    stays. Returns the mask and whether it changed. Raises ImportError without scipy.
    """
    if mode not in ("holes", "islands"):
        raise ValueError(f"mode is {mode!r}; expected 'holes' or 'islands'")
    mask = check_mask(mask)
    (rows, above), (columns, beside) = (_around(np.any(mask, axis)) for axis in (1, 0))
    part = mask[rows, columns]
    weights = np.outer(above, beside)
    labels, sizes = _regions(part if mode == "islands" else ~part, weights)
    small = sizes < min_area
    small[0] = False  # what is not searched: background, or the mask itself for holes
    if not small.any():
        return mask, False
    if mode == "holes":
        part = part | small[labels]
        if part[weights > 1].any():  # all around is a hole too
            return np.repeat(np.repeat(part, above, axis=0), beside, axis=1), True
    else:
        keep = ~small
        keep[0] = False
        if not keep.any():
            keep[_largest(labels, sizes, rows.start, columns.start)] = True
        part = keep[labels]
    mask = mask.copy()
    mask[rows, columns] = part
    return mask, True


def _around(line: np.ndarray) -> tuple[slice, np.ndarray]:
    """From the first set entry to the last and one beyond each, which stands for all that follow:
    where these are, and how many entries each stands for.
    """
    found = np.flatnonzero(line)
    if not len(found):
        return slice(0, len(line)), np.ones(len(line), int)
    first, last = max(found[0] - 1, 0), min(found[-1] + 1, len(line) - 1)
    counts = np.ones(last - first + 1, int)
    counts[0] += first
    counts[-1] += len(line) - 1 - last
    return slice(first, last + 1), counts


def _regions(mask: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The region that each pixel (H, W) of a mask is in, 0 outside, and the sizes (N + 1,) in
    pixels, of which each counts for ``weights``.
    """
    try:
        from scipy import ndimage
    except ImportError as error:
        raise ImportError("removing small regions needs scipy: pip install scipy") from error
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    return labels, np.bincount(labels.ravel(), weights.ravel(), minlength=count + 1)


def _largest(labels: np.ndarray, sizes: np.ndarray, top: int, left: int) -> int:
    """The largest region; of equal ones the first in OpenCV's order, which reads 2x2 blocks of the
    picture, in which the labels begin at ``top``, ``left``.
    """
    ties = np.flatnonzero(sizes[1:] == sizes[1:].max()) + 1
    y, x = np.nonzero(np.isin(labels, ties))
    first = np.lexsort(((x + left) // 2, (y + top) // 2))[0]
    return labels[y[first], x[first]]


def polygons(mask: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Exact outlines of a mask (H, W): outer ones, and those of holes.

    Each is (K, 2): x, y of its corners in the frame where pixel (0, 0) covers 0..1 in both, the
    first of them its topmost and leftmost. Regions that touch at a corner are apart. The areas of
    the outer ones less those of the holes are the mask's.

    An outline turns at every corner, so corners pair up along each line of the pixel grid, and
    following partner after partner, across and down by turns, is following the outline.
    """
    padded = np.pad(check_mask(mask), 1)
    x, y, second, rising = _corners(padded)
    across = partners(np.lexsort((second, x, y)))
    down = partners(np.lexsort((second ^ rising, y, x)))

    outer: list[np.ndarray] = []
    holes: list[np.ndarray] = []
    unseen = np.ones(len(x), bool)
    for start in range(len(x)):
        if not unseen[start]:
            continue
        path, i = [], start
        while unseen[i]:
            path += [i, across[i]]
            unseen[path[-2:]] = False
            i = down[across[i]]
        ring = np.stack([x[path], y[path]], axis=1)
        (outer if padded[y[start] + 1, x[start] + 1] else holes).append(ring)
    return outer, holes


def outlines(mask: np.ndarray) -> list[list[np.ndarray]]:
    """The regions of a mask (H, W), each as its outline and then those of its holes.

    Rings (K, 2) are those of ``polygons``: pixels that are inside one of a region's rings an odd
    number of times are set, and drawn so all regions give the mask back.
    """
    outer, holes = polygons(mask)
    regions = [[ring] for ring in outer]
    by_size = sorted(range(len(outer)), key=lambda i: _ring_area(outer[i]))
    lows, highs = (
        np.array([f(ring, axis=0) for ring in outer]).reshape(-1, 2) for f in (np.min, np.max)
    )
    for hole in holes:
        point = hole[0] + (0.5, -0.5)  # the middle of the pixel above, which is set
        near = ((lows < point) & (point < highs)).all(axis=1)
        owner = next(i for i in by_size if near[i] and _is_inside(point, outer[i]))
        regions[owner].append(hole)
    return regions


def _ring_area(ring: np.ndarray) -> float:
    x, y = ring.T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def _is_inside(point: np.ndarray, ring: np.ndarray) -> bool:
    """Whether a ray to the right crosses the ring's upright edges an odd number of times."""
    (x, y), (_, after) = ring.T, np.roll(ring, -1, axis=0).T
    crossed = (np.minimum(y, after) < point[1]) & (point[1] < np.maximum(y, after))
    return bool(np.count_nonzero(crossed & (x > point[0])) % 2)


def _corners(padded: np.ndarray) -> tuple[np.ndarray, ...]:
    """The corners of a mask's outlines, row by row: x, y, and for the points where two outlines
    touch, which are listed twice, whether it is the second of the two and how the pixels lie.

    The four pixels around a point, and what is there:

        a b    . .    . #    # .        one or three set: one corner
        c d    . #    # .    . #        two side by side: a straight line, no corner
              corner rising falling     two across: two outlines touch, two corners

    Of two, the first belongs to the pixel on the left. Where the pixels are rising that one lies
    below the point, where they are falling above it.
    """
    a, b, c, d = padded[:-1, :-1], padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
    falling, rising = a & d & ~b & ~c, b & c & ~a & ~d
    times = ((a ^ b ^ c ^ d) + 2 * (falling | rising)).astype(int)
    y, x = (np.repeat(i, times[np.nonzero(times)]) for i in np.nonzero(times))
    second = np.zeros(len(x), bool)
    second[1:] = (y[1:] == y[:-1]) & (x[1:] == x[:-1])
    return x, y, second, rising[y, x]


def partners(order: np.ndarray) -> np.ndarray:
    """The other end of each corner's edge: neighbours in ``order``, along the lines, pair up."""
    partner = np.empty(len(order), int)
    partner[order[::2]], partner[order[1::2]] = order[1::2], order[::2]
    return partner


def brush(
    mask: np.ndarray, path: Sequence[Sequence[float]], radius: float, erase: bool = False
) -> np.ndarray:
    """A mask (H, W) after a stroke of a round brush, or eraser, along a path of x, y (N, 2).

    Set are the pixels whose middle is at most ``radius`` from the path: pixel (0, 0) has its middle
    at 0.5, 0.5, as in ``polygons``. A path of one point is a disc.
    """
    mask = check_mask(mask).copy()
    corners = np.asarray(path, float).reshape(-1, 2)
    ends = corners[1:] if len(corners) > 1 else corners
    for start, end in zip(corners, ends):
        _stroke(mask, start, end, radius, not erase)
    return mask


def _stroke(
    mask: np.ndarray, start: np.ndarray, end: np.ndarray, radius: float, value: bool
) -> None:
    """Set the pixels near a line, in place."""
    low = np.floor(np.minimum(start, end) - radius - 0.5).clip(0, mask.shape[::-1]).astype(int)
    high = np.ceil(np.maximum(start, end) + radius + 0.5).clip(0, mask.shape[::-1]).astype(int)
    x = np.arange(low[0], high[0]) + 0.5 - start[0]
    y = (np.arange(low[1], high[1]) + 0.5 - start[1])[:, None]
    dx, dy = end - start
    along = ((x * dx + y * dy) / max(dx * dx + dy * dy, 1e-12)).clip(0, 1)
    near = (x - along * dx) ** 2 + (y - along * dy) ** 2 <= radius**2
    mask[low[1] : high[1], low[0] : high[0]][near] = value


def label_map(masks: Sequence[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """(H, W) uint16 of ``size``: i + 1 where mask i is, the smallest on top; 0 elsewhere.

    Raises ValueError for more than 65535 masks.
    """
    if len(masks) > 65535:
        raise ValueError(f"{len(masks)} masks; a 16-bit label map holds 65535")
    labels = np.zeros(size, np.uint16)
    areas = np.array([np.count_nonzero(check_mask(mask, "masks")) for mask in masks])
    for i in np.argsort(-areas, kind="stable").tolist():
        labels[check_mask(masks[i], "masks")] = i + 1
    return labels


def best_mask(masks: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The mask (H, W) of (N, H, W) with the highest predicted IoU."""
    return check_masks(masks)[int(np.argmax(scores))]


def largest_mask(masks: np.ndarray) -> np.ndarray:
    """The mask (H, W) of (N, H, W) with the most pixels."""
    masks = check_masks(masks)
    return masks[int(np.argmax(np.asarray(masks.sum(axis=(1, 2)))))]


def coco_annotations(
    records: Sequence[Record], image_id: int = 0, first_id: int = 1, category_id: int = 1
) -> list[dict[str, Any]]:
    """COCO annotations of automatic masks in any output mode, with compressed RLE.

    Ids count from ``first_id``. ``bbox`` is COCO's, one wider and higher than the records', which
    are the original's. The records' scores, point and crop come along.
    """
    rles = compressed_segmentations(records)
    return [
        {
            "id": first_id + i,
            "image_id": image_id,
            "category_id": category_id,
            "segmentation": rle,
            "area": record["area"],
            "bbox": rle_bbox(rle),
            "iscrowd": 0,
            **{k: record[k] for k in ("predicted_iou", "stability_score", "point_coords")},
            "crop_box": record["crop_box"],
        }
        for i, (record, rle) in enumerate(zip(records, rles))
    ]


def compressed_segmentations(records: Sequence[Record]) -> list[Rle]:
    """Compressed RLE of automatic masks in any output mode."""
    # Masks one at a time: as an array of their own they would take their memory twice.
    return compress_rle(
        [
            encode_rle(found[None])[0] if isinstance(found, (np.ndarray, mx.array)) else found
            for found in (record["segmentation"] for record in records)
        ]
    )
