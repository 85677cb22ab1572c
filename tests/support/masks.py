"""Masks to test functions on."""

import numpy as np

SHAPES = [(7, 13, 9), (3, 1, 5), (2, 5, 1), (1, 1, 1), (4, 64, 80), (0, 3, 4)]


def random_masks(shape, density):
    return np.random.default_rng(sum(shape)).random(shape) < density
