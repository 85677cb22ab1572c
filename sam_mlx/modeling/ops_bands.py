"""Maps of which a few would fill the memory: computed, and kept, as bands of rows.

A map of 64 channels at 1024 x 1024 takes 268 MB in float32, and a 3x3 convolution makes several
copies of it. Bands are as high as the budget of memory allows, and are spread over the streams.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import mlx.core as mx

from ..machine.budget import budget
from ..machine.streams import spread
from .ops import conv3x3_between, kernel3x3

MIN_ROWS = 4  # of a band: a convolution reads two more
COPIES = 4  # of its input that a 3x3 convolution has in memory (``ops_x86.conv3x3_between``)


@dataclass(frozen=True)
class Map:
    """A map (B, height, width, channels) that gives rows: ``rows(start, stop)`` are
    (B, stop - start, width, channels), computed when they are asked for, or kept.
    """

    rows: Callable[[int, int], mx.array]
    height: int
    width: int
    channels: int
    row_bytes: int  # that computing a row takes

    def bands(self) -> list[tuple[int, int]]:
        """Where bands start and stop that can be computed within the budget."""
        n = max(MIN_ROWS, budget().map_bytes // self.row_bytes)
        return [(i, min(i + n, self.height)) for i in range(0, self.height, n)]

    def kept(self) -> Map:
        """The map with its rows in memory. Computed a few bands at a time."""
        bands = self.bands()
        parts = spread([partial(self.rows, *band) for band in bands], evaluate=True)
        return kept(parts)

    def moments(self) -> tuple[mx.array, mx.array]:
        """Mean and variance of each channel, both (B, 1, 1, channels), in float32."""
        bands = self.bands()
        parts = spread([partial(self._moments, *band) for band in bands], evaluate=True)
        return joined([stop - start for start, stop in bands], parts)

    def _moments(self, start: int, stop: int) -> tuple[mx.array, mx.array]:
        x = self.rows(start, stop).astype(mx.float32)
        about = mean_of(x)
        x = x - about
        rest = mean_of(x)
        return about + rest, mean_of(mx.square(x)) - mx.square(rest)

    def each(self, change: Callable[[mx.array], mx.array], channels: int) -> Map:
        """The map with a function applied to its pixels, which have so many channels then."""

        def rows(start: int, stop: int) -> mx.array:
            return change(self.rows(start, stop))

        return Map(rows, self.height, self.width, channels, self.row_bytes)

    def convolved(self, weight: mx.array) -> Map:
        """After a 3x3 convolution, padding 1; weight: (out, 3, 3, channels)."""
        kernel = kernel3x3(weight)
        mx.eval(kernel)

        def rows(start: int, stop: int) -> mx.array:
            x = self.rows(max(start - 1, 0), min(stop + 1, self.height))
            ends = int(start == 0), int(stop == self.height)
            return conv3x3_between(mx.pad(x, [(0, 0), ends, (0, 0), (0, 0)]), kernel)

        row_bytes = max(self.row_bytes, COPIES * 4 * self.width * self.channels)
        return Map(rows, self.height, self.width, len(weight), row_bytes)

    def doubled(self) -> Map:
        """At twice the height and width, linear between pixels.

        PyTorch's bilinear ``interpolate`` with ``scale_factor=2, align_corners=False``.
        """

        def rows(start: int, stop: int) -> mx.array:
            low, high = start // 2, (stop + 1) // 2
            x = self.rows(max(low - 1, 0), min(high + 1, self.height))
            ends = int(low == 0), int(high == self.height)
            x = mx.pad(x, [(0, 0), ends, (1, 1), (0, 0)], mode="edge")
            x = columns_doubled(columns_doubled(x.swapaxes(1, 2)).swapaxes(1, 2))
            return x[:, start - 2 * low : stop - 2 * low]

        return Map(rows, 2 * self.height, 2 * self.width, self.channels, 2 * self.row_bytes)

    def spread_out(self, weight: mx.array) -> Map:
        """After a 2x2 transposed convolution of stride 2; weight: (out, 2, 2, channels)."""
        out = len(weight)
        W = weight.transpose(3, 1, 2, 0).flatten(1)  # (channels, 2*2*out)

        def rows(start: int, stop: int) -> mx.array:
            low = start // 2
            x = self.rows(low, (stop + 1) // 2) @ W
            B, H, width, _ = x.shape
            x = x.reshape(B * H, width, 2, 2 * out).swapaxes(1, 2)  # (B*H, 2, width, 2*out)
            return x.reshape(B, 2 * H, 2 * width, out)[:, start - 2 * low : stop - 2 * low]

        row_bytes = 2 * max(self.row_bytes, 4 * self.width * out)
        return Map(rows, 2 * self.height, 2 * self.width, out, row_bytes)


def columns_doubled(x: mx.array) -> mx.array:
    """(B, H, W + 2, C) to (B, H, 2W, C): the first and last column are neighbours of the others."""
    B, H, W, C = x.shape
    before, here, after = (x[:, :, i : i + W - 2] for i in range(3))
    here = 0.75 * here
    pairs = mx.stack([here + 0.25 * before, here + 0.25 * after], axis=3)
    return pairs.reshape(B, H, 2 * (W - 2), C)


def kept(parts: Sequence[mx.array]) -> Map:
    """A map from its bands, (B, n, W, C) each, the last may be lower."""
    _, n, width, channels = parts[0].shape

    def rows(start: int, stop: int) -> mx.array:
        found = [
            parts[k][:, max(start - k * n, 0) : stop - k * n]
            for k in range(start // n, -(-stop // n))
        ]
        return found[0] if len(found) == 1 else mx.concatenate(found, axis=1)

    height = sum(part.shape[1] for part in parts)
    return Map(rows, height, width, channels, 4 * width * channels)


def side_by_side(a: Map, b: Map) -> Map:
    """The channels of two maps of one size."""

    def rows(start: int, stop: int) -> mx.array:
        return mx.concatenate([a.rows(start, stop), b.rows(start, stop)], axis=-1)

    return Map(rows, a.height, a.width, a.channels + b.channels, a.row_bytes + b.row_bytes)


def mean_of(x: mx.array) -> mx.array:
    """The mean of each channel, (B, 1, 1, C). Axis by axis: MLX adds up one value after another,
    and a norm magnifies the rounding of a long sum 300 times where a channel hardly varies.
    """
    return x.mean(axis=2, keepdims=True).mean(axis=1, keepdims=True)


def joined(
    counts: Sequence[int], parts: Sequence[tuple[mx.array, mx.array]]
) -> tuple[mx.array, mx.array]:
    """The mean and variance of all values from those of parts, without cancellation."""
    shares = mx.array(list(counts), dtype=mx.float32).reshape(-1, 1, 1, 1, 1) / sum(counts)
    means, variances = (mx.stack(list(column)) for column in zip(*parts))
    mean = means[0] + (shares * (means - means[0])).sum(axis=0)
    return mean, (shares * (variances + mx.square(means - mean))).sum(axis=0)
