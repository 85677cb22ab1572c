"""Pictures, one for each: a map of labels, masks as tints, and only the pixels within masks."""

import numpy as np
from PIL import Image

from ..masks import label_map
from ..overlay import draw_overlay
from .base import Format, Masks, Result


class LabelMap(Format):
    name = "labelmap"
    help = "a 16-bit PNG for each picture, i + 1 where mask i is"
    pattern = "{}_labels.png"

    def write(self, result: Result, path: str) -> None:
        Image.fromarray(label_map(result.masks, result.image.shape[:2])).save(path)


class LabelTiff16(Format):
    name = "tiff16"
    help = "the same map as a 16-bit TIFF"
    pattern = "{}_labels.tif"

    def write(self, result: Result, path: str) -> None:
        Image.fromarray(label_map(result.masks, result.image.shape[:2])).save(path)


class LabelTiff32(Format):
    name = "tiff32"
    help = "as a 32-bit TIFF, for more than 65535 masks"
    pattern = "{}_labels.tif"

    def write(self, result: Result, path: str) -> None:
        # Pillow writes 32 bits with a sign.
        Image.fromarray(label_map(result.masks, result.image.shape[:2], np.int32)).save(path)


class Overlay(Format):
    name = "overlay"
    help = "the picture with its masks as tints"
    pattern = "{}_overlay.png"

    def write(self, result: Result, path: str) -> None:
        by_size = sorted(result.records, key=lambda record: -record["area"])
        draw_overlay(result.image, Masks(by_size), **result.prompt).save(path)


class Cutout(Format):
    name = "cutout"
    help = "the picture as a PNG, transparent where no mask is"
    pattern = "{}_cutout.png"

    def write(self, result: Result, path: str) -> None:
        alpha = np.zeros(result.image.shape[:2], bool)
        for mask in result.masks:
            alpha |= mask
        channels = np.dstack([result.image, alpha * np.uint8(255)])
        Image.fromarray(channels).save(path)
