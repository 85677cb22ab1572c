"""``segment_anything_hq.automatic_mask_generator``."""

from __future__ import annotations

import numpy as np

from ...masks import Record
from .. import automatic_mask_generator
from ..missing import unknown
from .predictor import SamPredictor


class SamAutomaticMaskGenerator(automatic_mask_generator.SamAutomaticMaskGenerator):
    """As Meta's. Each point gives one mask."""

    predictor_type = SamPredictor

    def generate(self, image: np.ndarray, multimask_output: bool = True) -> list[Record]:
        """Records of a picture (H, W, 3) uint8, with the original's keys.

        Raises NotImplementedError for ``multimask_output=False``.
        """
        if not multimask_output:
            raise NotImplementedError(
                "multimask_output=False: here automatic masks refine the best of three, which is "
                "the default of segment_anything_hq; SamPredictor refines the single one"
            )
        return super().generate(image)


__getattr__ = unknown(__name__, "segment_anything_hq 0.3")
