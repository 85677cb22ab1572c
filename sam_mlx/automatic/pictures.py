"""What is searched: a picture, or an embedding of one."""

from __future__ import annotations

import numpy as np

from .. import transforms
from ..embedding import ImageEmbedding, check_parts
from ..images import Source
from ..machine.streams import enter
from ..samples import Range

Picture = Source | ImageEmbedding


def opened(
    image: Picture, crop_n_layers: int, value_range: Range | None, usual_range: Range | None = None
) -> tuple[np.ndarray | ImageEmbedding, tuple[int, int]]:
    """The pixels or the embedding, and the size of the picture.

    usual_range: the model's, where ``value_range`` is None.
    """
    enter()  # the image may be an MLX array
    if not isinstance(image, ImageEmbedding):
        image = transforms.load_image(image, value_range=value_range or usual_range)
        return image, image.shape[:2]
    if value_range is not None:
        raise ValueError(
            f"value_range is {value_range}, but an ImageEmbedding has no samples: give it to "
            "SamPredictor.embed"
        )
    if crop_n_layers > 0:
        raise ValueError(
            f"an ImageEmbedding has no pixels to crop, and crop_n_layers is "
            f"{crop_n_layers}: pass the image, or use crop_n_layers=0"
        )
    check_parts(image)
    return image, image.original_size
