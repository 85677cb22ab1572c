"""Small labelled pictures for tests of fine-tuning."""

from pathlib import Path

import numpy as np
from PIL import Image

SIZE = 60, 80  # height, width


def picture(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Bright discs on noise, and their label image."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    pixels, labels = rng.integers(0, 60, (*SIZE, 3)), np.zeros(SIZE, np.uint16)
    for number, (row, column) in enumerate([(15, 12), (40, 25), (20, 45), (42, 68), (14, 70)], 1):
        radius = rng.uniform(5, 9)
        inside = (y - row - rng.uniform(-3, 3)) ** 2 + (x - column) ** 2 < radius**2
        labels[inside], pixels[inside] = number, rng.integers(120, 255, 3)
    return pixels.astype(np.uint8), labels


def write_data(folder: Path, count: int = 2, first: int = 0) -> Path:
    """Folders images and labels; the names tell of no series."""
    for i in range(first, first + count):
        for name, array in zip(("images", "labels"), picture(i)):
            (folder / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(folder / name / f"{'abcdefgh'[i]}.png")
    return folder
