"""``segment_anything.automatic_mask_generator``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..automatic import generator
from ..automatic.options import DEFAULTS, GeneratorOptions, HasOptions
from ..automatic.selection import clean_regions
from ..masks import Record
from .missing import unknown
from .modeling.sam import Sam
from .predictor import SamPredictor
from .tensors import to_numpy
from .utils.amg import MaskData

INSIDES = ("_generate_masks", "_process_crop", "_process_batch")


class SamAutomaticMaskGenerator(HasOptions):
    """Masks of everything in a picture. Each argument is an attribute that may be assigned."""

    predictor_type: type[SamPredictor] = SamPredictor

    def __init__(
        self,
        model: Sam,
        points_per_side: int | None = DEFAULTS.points_per_side,
        points_per_batch: int = DEFAULTS.points_per_batch,
        pred_iou_thresh: float = DEFAULTS.pred_iou_thresh,
        stability_score_thresh: float = DEFAULTS.stability_score_thresh,
        stability_score_offset: float = DEFAULTS.stability_score_offset,
        box_nms_thresh: float = DEFAULTS.box_nms_thresh,
        crop_n_layers: int = DEFAULTS.crop_n_layers,
        crop_nms_thresh: float = DEFAULTS.crop_nms_thresh,
        crop_overlap_ratio: float = DEFAULTS.crop_overlap_ratio,
        crop_n_points_downscale_factor: int = DEFAULTS.crop_n_points_downscale_factor,
        point_grids: Sequence[np.ndarray] | None = DEFAULTS.point_grids,
        min_mask_region_area: int = 0,
        output_mode: str = DEFAULTS.output_mode,
    ):
        self.options = GeneratorOptions(
            points_per_side, points_per_batch,
            pred_iou_thresh, stability_score_thresh, stability_score_offset, box_nms_thresh,
            crop_n_layers, crop_nms_thresh, crop_overlap_ratio, crop_n_points_downscale_factor,
            point_grids, min_mask_region_area, output_mode,
        )  # fmt: skip
        self.predictor = self.predictor_type(model)

    def generate(self, image: np.ndarray) -> list[Record]:
        """Records of a picture (H, W, 3) uint8, in the original's order, with its keys.

        A record's ``bbox`` and ``crop_box`` hold int, where some of the original's are float.
        """
        model = self.predictor.model
        if changed := [name for name in INSIDES if hasattr(type(self), name)]:
            raise NotImplementedError(
                f"{type(self).__name__} overrides {', '.join(changed)}, which the generator does "
                "not call here: sam_mlx.SamAutomaticMaskGenerator has predict and select"
            )
        if model.mask_threshold != model.mlx.mask_threshold:
            raise NotImplementedError(
                f"mask_threshold is {model.mask_threshold}; automatic masks are cut at "
                f"{model.mlx.mask_threshold}: use SamPredictor for others"
            )
        self.predictor.reset_image()
        inner = generator.SamAutomaticMaskGenerator(model.mlx)
        inner.options = self.options
        return inner.generate(image)

    @staticmethod
    def postprocess_small_regions(
        mask_data: MaskData, min_area: int, nms_thresh: float
    ) -> MaskData:
        """Clean ``rles`` and ``boxes`` in place, and drop masks that then repeat others."""
        if len(mask_data["rles"]):
            boxes = to_numpy(mask_data["boxes"])
            mask_data.filter(clean_regions(mask_data["rles"], boxes, min_area, nms_thresh))
        return mask_data


__getattr__ = unknown(__name__)
