"""Pictures, one for each: a map of labels, masks as tints, and only the pixels within masks."""

from typing import Any

import numpy as np
from PIL import Image

from ..masks import label_map
from ..overlay import draw_overlay, palette
from .base import Format, Masks, Result


class LabelMap(Format):
    name = "labelmap"
    help = "a 16-bit PNG for each picture, i + 1 where mask i is"
    pattern = "{}_labels.png"
    dtype: type[np.integer[Any]] = np.uint16

    def write(self, result: Result, path: str) -> None:
        labels = label_map(result.masks, result.image.shape[:2], self.dtype)
        Image.fromarray(labels).save(path)


class ClassMap(Format):
    name = "classmap"
    help = "a 16-bit PNG for each picture, the number of a class where its masks are"
    pattern = "{}_classes.png"

    def write(self, result: Result, path: str) -> None:
        labels = label_map(result.masks, result.image.shape[:2])
        numbers = [0, *(record.get("category_id", 1) for record in result.records)]
        Image.fromarray(np.array(numbers, np.uint16)[labels]).save(path)


class PaletteMap(Format):
    name = "palette"
    help = "the same map as a PNG with colours, for up to 255 masks"
    pattern = "{}_palette.png"

    def write(self, result: Result, path: str) -> None:
        if len(result.masks) > 255:
            raise ValueError(
                f"{len(result.masks)} masks; a palette has 255 colours: use --format labelmap"
            )
        labels = label_map(result.masks, result.image.shape[:2], np.uint8)
        picture = Image.fromarray(labels)
        picture.putpalette([0, 0, 0, *palette(255).ravel().tolist()])
        picture.save(path)


class LabelTiff16(LabelMap):
    name = "tiff16"
    help = "the same map as a 16-bit TIFF"
    pattern = "{}_labels.tif"


class LabelTiff32(LabelTiff16):
    name = "tiff32"
    help = "as a 32-bit TIFF, for more than 65535 masks"
    dtype = np.int32  # Pillow writes 32 bits with a sign


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
        self.cut(result.image, alpha).save(path)

    def cut(self, image: np.ndarray, alpha: np.ndarray) -> Image.Image:
        # Under transparent pixels nothing is left of the picture, which editors would show.
        return Image.fromarray(np.dstack([image * alpha[..., None], alpha * np.uint8(255)]))


class CroppedCutout(Cutout):
    name = "crop"
    help = "the same, cropped to its masks"
    pattern = "{}_crop.png"

    def cut(self, image: np.ndarray, alpha: np.ndarray) -> Image.Image:
        picture = super().cut(image, alpha)
        return picture.crop(picture.getbbox() or (0, 0, 1, 1))
