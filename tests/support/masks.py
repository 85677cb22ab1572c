"""Masks to test functions on."""

import numpy as np

SHAPES = [(7, 13, 9), (3, 1, 5), (2, 5, 1), (1, 1, 1), (4, 64, 80), (0, 3, 4)]


def random_masks(shape, density):
    return np.random.default_rng(sum(shape)).random(shape) < density


def filled(rings: list[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """Pixels whose middle is inside an odd number of times: what is drawn with evenodd.

    rings: (N, 2) of x, y along the edges of pixels; lines in another direction, which are crossed
    twice, change nothing.
    """
    crossings = np.zeros((size[0], size[1] + 1), int)
    for ring in rings:
        for (x, y0), (after, y1) in zip(ring, np.roll(ring, -1, axis=0)):
            if x == after:
                crossings[min(y0, y1) : max(y0, y1), x] += 1
    return np.cumsum(crossings, axis=1)[:, :-1] % 2 == 1


def yolo_masks(text: str, size: tuple[int, int]) -> tuple[list[int], np.ndarray]:
    """The classes in a file of YOLO's, and the masks (N, H, W) that its polygons enclose."""
    height, width = size
    lines = [line.split() for line in text.splitlines()]
    shares = [np.array(line[1:], float).reshape(-1, 2) for line in lines]
    rings = [np.rint(share * (width, height)).astype(int) for share in shares]
    masks = [filled([ring], size) for ring in rings]
    return [int(line[0]) for line in lines], np.array(masks).reshape(-1, height, width)
