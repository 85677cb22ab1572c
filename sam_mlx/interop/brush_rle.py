"""Label Studio's run lengths of brush strokes: rle-pack of @thi.ng/umbrella.

A mask is a picture in RGBA, row by row, whose four bytes are 0 or 255. The stream's most
significant bits come first: 32 bits count the bytes; 5 bits the size of a word, less 1; four times
4 bits the sizes of lengths, less 1. Then for each run: 1 bit tells whether a word is repeated, 2
bits which size its length has, then the length less 1, and the word, or all words.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays import check_pixels, check_size
from ..messages import short

SIZES = (3, 4, 8, 16)  # bits of a run's length
WORD = 8  # bits of a value
HEAD = 3  # bits before a run's length
CHANNELS = 4


def encode_brush(mask: np.ndarray) -> list[int]:
    """The bytes of a mask (H, W), as the SDK's ``mask2rle`` gives them."""
    flat = np.ascontiguousarray(mask, bool).reshape(-1)
    ends = np.append(np.flatnonzero(flat[1:] != flat[:-1]) + 1, len(flat))
    lengths = np.diff(ends, prepend=0) * CHANNELS
    values = np.where(flat[ends - 1], 255, 0)
    bits = np.concatenate([header(flat.size * CHANNELS), runs(*split(lengths, values))])
    padding = np.zeros(8 - len(bits) % 8, np.uint8)  # a whole byte where none is needed
    data: list[int] = np.packbits(np.concatenate([bits, padding])).tolist()
    return data


def split(lengths: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Runs in parts of at most 65,536 bytes, the longest that fit; with which size each length has,
    which for the parts of a run is that of the run.
    """
    longest = 1 << SIZES[-1]
    parts = -(-lengths // longest)
    found = np.full(parts.sum(), longest)
    found[np.cumsum(parts) - 1] = lengths - (parts - 1) * longest
    sizes = np.searchsorted([1 << size for size in SIZES[:-1]], lengths)
    return found, np.repeat(sizes, parts), np.repeat(values, parts)


def header(count: int) -> np.ndarray:
    """The bits that begin the stream: bytes, word size, sizes of run lengths."""
    numbers = [(count, 32), (WORD - 1, 5), *((size - 1, 4) for size in SIZES)]
    return np.array([int(b) for number, n in numbers for b in f"{number:0{n}b}"], np.uint8)


def runs(lengths: np.ndarray, kind: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The bits of repeated words. kind: which of the sizes a length has."""
    size = np.array(SIZES)[kind]
    total = HEAD + size + WORD
    code = (((4 | kind) << size | (lengths - 1)) << WORD) | values
    place = np.arange(total.max())
    shift = total[:, None] - 1 - place
    bits = (code[:, None] >> np.maximum(shift, 0)) & 1
    return bits[shift >= 0].astype(np.uint8)


def decode_brush(data: Any, size: tuple[int, int]) -> np.ndarray:
    """The mask (H, W) of such bytes: pixels whose alpha is not 0.

    Raises ValueError for bytes that do not hold a picture of that size.
    """
    H, W = check_size(size, "the size")
    check_pixels(H * W, "a brush's mask")
    try:
        packed = np.asarray(data)
        is_bytes = packed.ndim == 1 and packed.dtype.kind in "iu"
        if not is_bytes or (packed < 0).any() or (packed > 255).any():
            raise ValueError("it is not a list of bytes")
        stream = Bits(packed.astype(np.uint8))
        count, word = stream.read(32), stream.read(5) + 1
        sizes = [stream.read(4) + 1 for _ in range(4)]
        if count != H * W * CHANNELS or word != WORD:
            raise ValueError(f"it has {count} values of {word} bits; expected {H * W * CHANNELS}")
        pixels = unpacked(stream, count, sizes)
    except ValueError as error:
        raise ValueError(f"a brush's rle {short(data)} cannot be read: {error}") from None
    return pixels.reshape(H, W, CHANNELS)[..., 3] > 0


def unpacked(stream: Bits, count: int, sizes: list[int]) -> np.ndarray:
    """The bytes of a stream of runs."""
    found, done = np.zeros(count, np.uint8), 0
    while done < count:
        repeats = stream.read(1)
        end = done + 1 + stream.read(sizes[stream.read(2)])
        if end > count:
            raise ValueError("it goes on beyond its end")
        found[done:end] = stream.read(WORD) if repeats else stream.words(end - done)
        done = end
    return found


class Bits:
    """Bits of bytes, read in order."""

    def __init__(self, packed: np.ndarray):
        self.bits = np.unpackbits(packed)
        self.text = (self.bits + ord("0")).tobytes().decode("ascii")
        self.place = 0

    def read(self, count: int) -> int:
        """Raises ValueError at the end."""
        part = self.text[self.place : self.place + count]
        if len(part) < count:
            raise ValueError("it ends too early")
        self.place += count
        return int(part, 2)

    def words(self, count: int) -> np.ndarray:
        """The next ``count`` bytes. Raises ValueError at the end."""
        part = self.bits[self.place : self.place + count * WORD]
        if len(part) < count * WORD:
            raise ValueError("it ends too early")
        self.place += count * WORD
        return np.packbits(part)
