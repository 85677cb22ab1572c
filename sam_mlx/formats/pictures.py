"""Pictures, one for each: a map of labels, and masks as tints."""

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


class Overlay(Format):
    name = "overlay"
    help = "the picture with its masks as tints"
    pattern = "{}_overlay.png"

    def write(self, result: Result, path: str) -> None:
        by_size = sorted(result.records, key=lambda record: -record["area"])
        draw_overlay(result.image, Masks(by_size), **result.prompt).save(path)
