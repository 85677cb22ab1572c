"""Run-length encoding, as the original and as COCO have it."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..arrays import check_pixels, count_of, to_numpy
from ..messages import short
from .arrays import Array, check_masks

Rle = dict[str, Any]  # size and counts

MAX_AREA = (1 << 63) - 1  # of an RLE, pixels: run lengths are added up as int64
MAX_DIGITS = 12  # of a number in compressed RLE, 5 bits each: more do not fit an int64


def encode_rle(masks: Array) -> list[Rle]:
    """Uncompressed RLE of masks (N, H, W) (``mask_to_rle_pytorch``)."""
    masks = check_masks(masks)
    N, H, W = masks.shape
    if N and H * W == 0:
        raise ValueError(f"masks has shape {tuple(masks.shape)}: it holds no pixels")
    return [run_lengths(mask, (0, 0), (H, W)) for mask in np.asarray(masks)]


def run_lengths(part: np.ndarray, corner: tuple[int, int], size: tuple[int, int]) -> Rle:
    """Uncompressed RLE of a mask of ``size``, H and W, that is set only within ``part`` (h, w),
    whose upper left pixel is at ``corner``, y and x.
    """
    (top, left), (H, W) = corner, size
    columns = np.pad(part.T, ((0, 0), (1, 1)))  # every column begins and ends unset
    column, row = np.divmod(np.flatnonzero(columns[:, 1:] != columns[:, :-1]), len(part) + 1)
    ends = (column + left) * H + row + top
    # A run that ends with a column and one that begins with the next column are one run.
    meets = np.flatnonzero(ends[1:] == ends[:-1])
    ends = np.delete(ends, np.concatenate([meets, meets + 1]))
    if len(ends) == 0 or ends[-1] < H * W:
        ends = np.append(ends, H * W)
    return {"size": [H, W], "counts": np.diff(ends, prepend=0).tolist()}


def decode_rle(rles: Sequence[Rle]) -> np.ndarray:
    """Bool masks (N, H, W) of RLEs of one size, compressed or not (``rle_to_mask``).

    Raises ValueError for RLEs that are malformed, that differ in size, or that do not fill it.
    """
    count_of(rles, "rles")
    sizes = {rle_size(rle) for rle in rles}
    if len(sizes) != 1:
        raise ValueError(f"the RLEs have sizes {sorted(sizes)}; expected one or more of one size")
    H, W = sizes.pop()
    check_pixels(len(rles) * H * W, "the masks of the RLEs")
    counts = [rle_counts(rle) for rle in rles]
    lengths = np.array([len(runs) for runs in counts])
    place = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    pixels = np.repeat(place % 2 == 1, np.concatenate(counts))
    return pixels.reshape(len(rles), W, H).swapaxes(1, 2)


def decode_part(rle: Rle, box: Sequence[int]) -> np.ndarray:
    """The part (h, w) of one RLE's mask that lies in a box, x0, y0, x1, y1 (exclusive), within it.

    Only the part is held, however large the mask.
    """
    H, _ = rle_size(rle)
    x0, y0, x1, y1 = box
    check_pixels((x1 - x0) * (y1 - y0), "the part of the RLE's mask")
    ends = np.cumsum(rle_counts(rle))
    first, last = (n.clip(x0 * H, x1 * H) for n in (ends[:-1:2], ends[1::2]))
    first, last = first[first < last], last[first < last]
    # A run that goes on in the next columns is one run for each of them.
    columns = (last - 1) // H - first // H + 1
    place = np.arange(columns.sum()) - np.repeat(np.cumsum(columns) - columns, columns)
    column = np.repeat(first // H, columns) + place
    start = (np.repeat(first, columns) - column * H).clip(y0, y1) - y0
    end = (np.repeat(last, columns) - column * H).clip(y0, y1) - y0
    changes = np.zeros((x1 - x0, y1 - y0 + 1), np.int8)  # +1 where a run begins, -1 where it ends
    np.add.at(changes, (column - x0, start), 1)
    np.add.at(changes, (column - x0, end), -1)
    return np.cumsum(changes, axis=1, dtype=np.int8)[:, :-1].T > 0


def rle_size(rle: Rle) -> tuple[int, int]:
    """Height and width of an RLE. Raises ValueError for anything else."""
    if not isinstance(rle, Mapping) or not {"size", "counts"} <= rle.keys():
        raise ValueError(f"{short(rle)} is not an RLE; expected size and counts")
    try:
        height, width = map(operator.index, rle["size"])
    except (TypeError, ValueError):
        height = width = 0
    if min(height, width) < 1 or height * width > MAX_AREA:
        raise ValueError(f"an RLE has size {short(rle['size'])}; expected whole H, W above 0")
    return height, width


def rle_counts(rle: Rle) -> list[int]:
    """Run lengths of one RLE, compressed or not. Raises ValueError where they are malformed, or do
    not fill its size.
    """
    H, W = rle_size(rle)
    counts = rle["counts"]
    is_text = isinstance(counts, (str, bytes, bytearray, memoryview))
    try:
        runs = _parse_counts(counts) if is_text else to_numpy(counts, "counts")
    except ValueError:  # too long for a number, or lists of several lengths
        runs = np.array(math.nan)
    if runs.ndim != 1 or (runs.size and (runs.dtype.kind not in "iu" or runs.min() < 0)):
        raise ValueError(
            f"an RLE has counts {short(counts)}; expected lengths of runs, none below 0, "
            "or their compressed form"
        )
    lengths: list[int] = runs.tolist()
    if sum(lengths) != H * W:  # as Python adds them, which does not wrap
        raise ValueError(f"an RLE covers {sum(lengths)} pixels; its size {(H, W)} has {H * W}")
    return lengths


def rle_area(rle: Rle) -> int:
    """Number of set pixels (``area_from_rle``)."""
    return int(sum(rle_counts(rle)[1::2]))


def compress_rle(rles: Sequence[Rle]) -> list[Rle]:
    """RLEs with their counts as strings, as pycocotools writes them (``coco_encode_rle``).

    RLEs that are compressed already, as str or bytes, come out with counts as str.
    From the fourth on, a run is stored as its difference from the one two before.
    """
    if not count_of(rles, "rles"):
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
    """The numbers as text, one after another, and how many characters each of them takes.

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
        # A number may end where the top bit of its last digit is its sign.
        going = going & (rest != np.where(digit & 16, -1, 0))
        characters.append(digit + 48 + 32 * going)
    used = np.stack(present, axis=1)
    text = np.stack(characters, axis=1)[used].astype(np.uint8).tobytes().decode("ascii")
    return text, used.sum(axis=1)


def _parse_counts(text: str | bytes | bytearray | memoryview) -> np.ndarray:
    """The numbers that ``_write_numbers`` wrote, with the differences undone, as int64."""
    data = text.encode() if isinstance(text, str) else bytes(text)
    codes = np.frombuffer(data, np.uint8).astype(np.int64) - 48
    if len(codes) == 0:
        return codes
    last = codes & 32 == 0
    number = np.cumsum(last) - last
    start = np.flatnonzero(np.concatenate([[True], last[:-1]]))
    place = np.arange(len(codes)) - start[number]
    if codes.min() < 0 or codes.max() > 63 or not last[-1] or place.max() >= MAX_DIGITS:
        raise ValueError("not compressed counts")
    values = np.zeros(last.sum(), np.int64)
    np.add.at(values, number, (codes & 31) << (5 * place))
    negative = codes[last] & 16 != 0
    values -= negative * (1 << 5 * (place[last] + 1))
    for offset in (1, 2):
        values[offset::2] = np.cumsum(values[offset::2])
    return values
