"""Output formats of ``sam-mlx auto`` and ``predict``, one class each, in the help's order."""

from .base import Format, Result, apart
from .coco import Coco
from .imagej import ImageJRois
from .labelme import LabelMe
from .masks import MaskImages
from .outlines import GeoJson, Svg
from .pictures import (
    ClassMap,
    CroppedCutout,
    Cutout,
    LabelMap,
    LabelTiff16,
    LabelTiff32,
    Overlay,
    PaletteMap,
)
from .records import Records, Sa1b
from .yolo import Yolo

ALL: tuple[Format, ...] = (
    MaskImages(), Coco(), Sa1b(), LabelMap(), PaletteMap(), LabelTiff16(), LabelTiff32(),
    Overlay(), Cutout(), CroppedCutout(), Svg(), GeoJson(), ImageJRois(), Records(), Yolo(),
    LabelMe(), ClassMap(),
)  # fmt: skip
FORMATS = {format.name: format for format in ALL}
# By what notes of results call them: also those that ``apart`` may have renamed.
KEYED = {format.key: format for format in (*ALL, *apart(ALL))}

__all__ = ["FORMATS", "KEYED", "Format", "Result", "apart"]
