"""Pictures larger than memory: opened without reading them, read in windows.

>>> import numpy as np
>>> from sam_mlx.large import open_large
>>> picture = open_large(np.zeros((9000, 12000, 3), np.uint8))
>>> picture
LargeImage(9000 x 12000, 3 bands, uint8)
>>> picture.read((8000, 100, 640, 480)).shape
(480, 640, 3)

``SamPredictor.set_image`` takes one, and answers prompts in windows round them;
``SamAutomaticMaskGenerator.generate_large`` finds everything in one, in tiles without seams.
"""

from .picture import LargeImage, Source, check_plain, open_large
from .place import Place
from .prompts import Answer, Answers, WindowedPrompts
from .window import Window

__all__ = [
    "Answer",
    "Answers",
    "LargeImage",
    "Place",
    "Source",
    "Window",
    "WindowedPrompts",
    "check_plain",
    "open_large",
]
