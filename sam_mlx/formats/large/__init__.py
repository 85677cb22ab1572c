"""Output formats of large pictures, one class each, in the help's order. All read the masks from
a file, one after another, and hold only a few.
"""

from .base import LargeFormat, LargeResult, Spool
from .imagej import LargeRois
from .json_files import LargeCoco, LargeGeoJson, QuPath
from .raster import LabelRaster
from .vector import GeoPackage

ALL: tuple[LargeFormat, ...] = (
    GeoPackage(), LargeGeoJson(), LabelRaster(), LargeCoco(), QuPath(), LargeRois(),
)  # fmt: skip
LARGE_FORMATS = {format.name: format for format in ALL}

__all__ = ["LARGE_FORMATS", "LargeFormat", "LargeResult", "Spool"]
