"""Masks measured and cut at full size, strip by strip, where they reach.

A strip is where one band of rows crosses bands of columns (``full_size`` has the drawing). A GPU
works on many in one evaluation, and hands all their results over in one transfer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise

import mlx.core as mx
import numpy as np

from .full_size import Grid, edges, make_columns
from .machine.budget import budget
from .machine.streams import one_by_one, step
from .machine.worker import at_work
from .masks import profile_boxes, stability_ratio

ROUNDING = 1e-3  # of logits; more than float32 has of any that are drawn
PARTS_A_CALL = 16  # that the worker measures at a time: about a tenth of a second on a CPU


def strip(
    logits: mx.array, index: np.ndarray, grid: Grid, row: int, columns: slice
) -> Iterator[mx.array]:
    """One band of rows of the masks at ``index`` (N,) of logits (M, n, n), in float32: (N, h, w)
    for each of some bands of columns.
    """
    band, matrix = grid.rows[row]
    x = logits[:, band][mx.array(index)].astype(mx.float32)  # (N, of the band, n)
    columns_first = grid.columns_first(whole=False)
    x = x if columns_first else matrix @ x
    for across in grid.columns[columns]:
        made = make_columns(x, *across)
        yield matrix @ made if columns_first else made


def masks_at_once(pixels: int) -> int:
    """How many masks, of that many pixels each, are worked on together."""
    return max(1, budget().mask_pixels // pixels)


def measure(
    logits: mx.array, index: np.ndarray, grid: Grid, threshold: float, offset: float
) -> tuple[np.ndarray, np.ndarray]:
    """Stability scores (N,) and boxes (N, 4) of N masks at full size (``masks.stability_scores``,
    ``masks.mask_boxes``), those at ``index`` (N,) of logits (M, n, n).
    """
    H, W = grid.size
    # Each has one band of rows in memory. In a call there are the low-resolution masks, and in the
    # end the counts along both sides.
    at_once = masks_at_once(max(len(grid.rows[0][1]) * W, 4 * H))
    parts = [index[i : i + at_once] for i in range(0, len(index), at_once)]
    a_call = min(PARTS_A_CALL, masks_at_once(at_once * max(grid.n**2, 3 * W + H)))
    scores, boxes = [np.zeros(0, np.float32)], [np.zeros((0, 4), int)]
    for i in range(0, len(parts), a_call):
        found = _measured(logits, parts[i : i + a_call], grid, threshold, offset)
        scores.append(found[0])
        boxes.append(found[1])
    return np.concatenate(scores), np.concatenate(boxes)


def stability_at_full_size(
    logits: mx.array,
    input_size: tuple[int, int],
    original_size: tuple[int, int],
    image_size: int,
    threshold: float,
    offset: float = 1.0,
) -> np.ndarray:
    """Stability scores (N,) of the masks that low-resolution logits (N, n, n) give at full size,
    as automatic masks have them; the other arguments are those of ``upscale_masks``.
    """
    grid = Grid.of(logits.shape[-1], input_size, original_size, image_size)
    return measure(logits, np.arange(len(logits)), grid, threshold, offset)[0]


@at_work
def _measured(
    logits: mx.array, parts: list[np.ndarray], grid: Grid, threshold: float, offset: float
) -> tuple[np.ndarray, np.ndarray]:
    """``measure`` of a few parts: other threads get their turn after them.

    A GPU is waited for twice: for where the masks reach, and for the counts of all strips.
    """
    index, starts = np.concatenate(parts), np.cumsum([0, *map(len, parts)])
    # A pixel is a mean of logits, up to rounding.
    down, across = profiles(logits, index, threshold - abs(offset) - ROUNDING)
    work = [
        (row, start + members, columns)
        for start, end in pairwise(starts)
        for row, members, columns in reached(down[start:end], across[start:end], grid)
    ]
    levels = mx.array([threshold + offset, threshold, threshold - offset])[:, None, None]

    def count(row: int, members: np.ndarray, columns: slice, logits: mx.array) -> mx.array:
        """For each band of columns, pixels above each level in its columns (N, 3, w), and above
        the threshold in the rows (N, h); all in a line.
        """
        counts = []
        for some in strip(logits, index[members], grid, row, columns):
            is_above = some[:, None] > levels  # (N, 3, h, w)
            both = [is_above.sum(axis=-2), is_above[:, 1].sum(axis=-1)]
            counts += step(both, some.nbytes + is_above.nbytes)
        return mx.concatenate([x.flatten() for x in counts])

    x, y = edges(grid.columns), edges(grid.rows)
    in_columns = np.zeros((len(index), 3, x[-1]), np.int32)
    in_rows = np.zeros((len(index), y[-1]), np.int32)
    tasks = [partial(count, *task) for task in work]
    for (row, members, columns), counts in zip(work, read(tasks, logits)):
        for left, right in pairwise(x[columns.start : columns.stop + 1]):
            shapes = (len(members), 3, right - left), (len(members), y[row + 1] - y[row])
            in_band, in_rows_of_band, counts = unpacked(counts, *shapes)
            in_columns[members, :, left:right] += in_band
            in_rows[members, y[row] : y[row + 1]] += in_rows_of_band
    # In numpy: a GPU may round the ratio across the threshold.
    inner, _, outer = in_columns.sum(axis=2).T.astype(np.float32)
    return stability_ratio(inner, outer), profile_boxes(in_columns[:, 1], in_rows)


def unpacked(line: np.ndarray, *shapes: tuple[int, ...]) -> list[np.ndarray]:
    """Arrays of these shapes from the beginning of a line, and what is left of it."""
    found = []
    for shape in shapes:
        size = np.prod(shape)
        found.append(line[:size].reshape(shape))
        line = line[size:]
    return [*found, line]


def read(tasks: Sequence[Callable[[mx.array], mx.array]], x: mx.array) -> list[np.ndarray]:
    """What tasks make of an array, each a line of numbers: in one evaluation and one transfer."""
    if not tasks:
        return []
    lines = one_by_one(tasks, x)
    ends = np.cumsum([len(line) for line in lines])[:-1]
    return np.split(np.array(mx.concatenate(lines)), ends)


def profiles(
    logits: mx.array, index: np.ndarray, threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """Which rows and which columns of the masks at ``index`` (N,) of logits (M, n, n) have values
    above the threshold: (N, n) each.
    """
    first, end = index[0], index[0] + len(index)
    are_neighbours = np.array_equal(index, np.arange(first, end))  # which need no copy
    is_set = (logits[first:end] if are_neighbours else logits[mx.array(index)]) > threshold
    both = np.array(mx.concatenate([is_set.any(axis=2), is_set.any(axis=1)], axis=1))
    return both[:, : is_set.shape[1]], both[:, is_set.shape[1] :]


def reached(
    down: np.ndarray, across: np.ndarray, grid: Grid
) -> list[tuple[int, np.ndarray, slice]]:
    """For each band of rows in which a mask is set: its number, which masks those are, and the
    bands of columns from the first to the last in which one of them is set.

    down, across: which rows and columns of the masks are set (``profiles``).
    """
    in_rows = [down[:, band].any(axis=1) for band, _ in grid.rows]
    in_columns = np.stack([across[:, band].any(axis=1) for band, _ in grid.columns])  # (bands, N)
    work = []
    for row, members in enumerate(in_rows):
        index = np.flatnonzero(members)
        columns = np.flatnonzero(in_columns[:, index].any(axis=1))
        if len(columns):
            work.append((row, index, slice(columns[0], columns[-1] + 1)))
    return work


def cut(
    logits: mx.array, index: np.ndarray, boxes: np.ndarray, grid: Grid, threshold: float
) -> Iterator[np.ndarray]:
    """N masks, each within its box (N, 4), inclusive, at full size: those at ``index`` (N,) of
    logits (M, n, n).
    """
    sizes = (boxes[:, 2:] - boxes[:, :2] + 1).prod(axis=1)
    for some in in_memory(sizes):
        yield from _cut(logits, index[some], boxes[some], grid, threshold)


def in_memory(sizes: np.ndarray) -> list[np.ndarray]:
    """Indices of things with so many pixels, in parts with few pixels."""
    before = np.cumsum(sizes) // budget().cut_pixels
    return np.split(np.arange(len(sizes)), np.flatnonzero(np.diff(before)) + 1)


@at_work
def _cut(
    logits: mx.array, index: np.ndarray, boxes: np.ndarray, grid: Grid, threshold: float
) -> list[np.ndarray]:
    masks = [np.zeros((y1 - y0 + 1, x1 - x0 + 1), bool) for x0, y0, x1, y1 in boxes.tolist()]
    x, y = edges(grid.columns), edges(grid.rows)

    def above(row: int, some: np.ndarray, columns: slice, logits: mx.array) -> mx.array:
        bands = strip(logits, index[some], grid, row, columns)
        return mx.concatenate([band > threshold for band in bands], axis=-1).flatten()

    work = list(crossed(boxes, grid))
    sizes = [len(some) * np.diff(y)[row] * (x[c.stop] - x[c.start]) for row, some, c in work]
    for part in in_memory(np.array(sizes)):
        tasks = [partial(above, *work[i]) for i in part]
        for i, line in zip(part, read(tasks, logits)):
            row, some, columns = work[i]
            found = line.reshape(len(some), y[row + 1] - y[row], -1)
            for k, is_set in zip(some, found):
                x0, y0, x1, y1 = boxes[k] - np.tile((x[columns.start], y[row]), 2)
                top, bottom = max(y0, 0), min(y1 + 1, len(is_set))
                masks[k][top - y0 : bottom - y0] = is_set[top:bottom, x0 : x1 + 1]
    return masks


def crossed(boxes: np.ndarray, grid: Grid) -> Iterator[tuple[int, np.ndarray, slice]]:
    """Strips that hold the boxes (N, 4): the number of the band of rows, which boxes it crosses, a
    few at a time, and the bands of columns that hold these.
    """
    x = edges(grid.columns)
    for row, (start, end) in enumerate(pairwise(edges(grid.rows))):
        here = np.flatnonzero((boxes[:, 1] < end) & (boxes[:, 3] >= start))
        at_once = masks_at_once((end - start) * x[-1])
        for i in range(0, len(here), at_once):
            some = here[i : i + at_once]
            yield row, some, _between(x, boxes[some, 0].min(), boxes[some, 2].max())


def _between(edges: np.ndarray, first: int, last: int) -> slice:
    """The bands that hold the pixels from the first to the last."""
    found = np.flatnonzero((edges[:-1] <= last) & (edges[1:] > first))
    return slice(found[0], found[-1] + 1)
