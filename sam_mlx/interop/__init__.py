"""Masks as other programs have them, and back.

``to_...`` takes records, as ``SamAutomaticMaskGenerator`` gives them in any output mode, or masks
(N, H, W); ``from_...`` gives records with compressed RLE, as the output formats take them. Where
the other form has no scores they are 1. Each function imports the package it is about when it is
called, and raises ImportError with the line that installs it.

>>> import numpy as np
>>> from sam_mlx import interop
>>> mask = np.zeros((1, 6, 8), bool)
>>> mask[0, 2:5, 3:7] = True
>>> shapes = interop.to_labelme(mask, "picture.png")
>>> shapes["shapes"][0]["points"]
[[3, 2], [7, 2], [7, 5], [3, 5]]
>>> interop.from_labelme(shapes)[0]["area"]
12
"""

from .fiftyone import from_fiftyone, to_fiftyone
from .label_studio import from_label_studio, to_label_studio
from .labelme import from_labelme, to_labelme
from .shapes import from_shapely, to_shapely
from .supervision import from_supervision, to_supervision

__all__ = [
    "from_fiftyone",
    "from_label_studio",
    "from_labelme",
    "from_shapely",
    "from_supervision",
    "to_fiftyone",
    "to_label_studio",
    "to_labelme",
    "to_shapely",
    "to_supervision",
]
