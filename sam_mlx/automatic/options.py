"""The arguments of automatic masks, declared once.

Derived from here: the defaults and checks of ``SamAutomaticMaskGenerator``, what ``select`` can
override, the flags of ``sam-mlx auto``, and the settings its results depend on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np

from ..config import SamConfig
from ..masks.regions import AREA
from ..options import NUMBER, check, number, option, whole_number
from .crops import MAX_POINTS, check_point_grids, layered_point_grids

OUTPUT_MODES = ("binary_mask", "uncompressed_rle", "coco_rle")
MAX_LAYERS = 6  # 5461 crops: more would be a mistake, and run for weeks


@dataclass(frozen=True, eq=False, repr=False)
class GeneratorOptions:
    """Meta's arguments, in Meta's order. Those with ``selects`` judge answers already made."""

    points_per_side: int | None = option(
        32, "points along each side of the image", whole_number(1, MAX_POINTS), or_none=True
    )
    points_per_batch: int = option(
        64, "points put to the model at once", whole_number(1), changes_results=False
    )
    pred_iou_thresh: float = option(
        0.88, "keep masks with a predicted IoU above this", NUMBER, selects=True, of_model=True
    )
    stability_score_thresh: float = option(
        0.95, "keep masks that are at least this stable", NUMBER, selects=True, of_model=True
    )
    stability_score_offset: float = option(
        1.0, "shift of the threshold that tests stability", NUMBER, selects=True
    )
    box_nms_thresh: float = option(
        0.7, "box IoU above which a mask repeats another", NUMBER, selects=True
    )
    crop_n_layers: int = option(
        0, "search also in 2^i x 2^i crops, i = 1 to this", whole_number(0, MAX_LAYERS)
    )
    crop_nms_thresh: float = option(0.7, "as --box-nms-thresh, between crops", NUMBER, selects=True)
    crop_overlap_ratio: float = option(
        512 / 1500,
        "overlap of crops, of the shorter side",
        number("a number from 0, less than 1", lambda ratio: 0 <= ratio < 1),
    )
    crop_n_points_downscale_factor: int = option(
        1,
        "points a side are divided by this^i in crops",
        number("a number above 0", lambda factor: factor > 0),
    )
    point_grids: Sequence[np.ndarray] | None = option(
        None, "instead of points_per_side, one array (N, 2) in [0, 1] a crop layer", flag=False
    )
    min_mask_region_area: float = option(
        0,
        "drop islands and fill holes of fewer pixels",
        AREA,
        selects=True,
    )
    output_mode: str = option(
        "binary_mask", "form of the masks", choices=OUTPUT_MODES, flag=False, selects=True
    )

    def __post_init__(self) -> None:
        check(self)
        if (self.points_per_side is None) == (self.point_grids is None):
            raise ValueError(
                "points_per_side and point_grids exclude each other: give one, and None for the "
                "other"
            )
        _ = self.grids  # which checks them

    def __repr__(self) -> str:
        """Those that are not the defaults."""
        values = {f.name: (getattr(self, f.name), f.default) for f in fields(self)}
        del values["point_grids"]
        parts = [f"{name}={v!r}" for name, (v, default) in values.items() if v != default]
        if self.point_grids is not None:
            parts.append(f"point_grids of {', '.join(str(len(g)) for g in self.grids)} points")
        return f"GeneratorOptions({', '.join(parts)})"

    @cached_property
    def grids(self) -> list[np.ndarray]:
        """Points of the image and of each crop layer, (N, 2) as x, y in [0, 1]."""
        if self.points_per_side is None:
            return check_point_grids(self.point_grids, self.crop_n_layers)
        return layered_point_grids(
            self.points_per_side, self.crop_n_layers, self.crop_n_points_downscale_factor
        )

    def with_one(self, name: str, value: Any) -> GeneratorOptions:
        """The options with one value changed. Of points_per_side and point_grids, the one that
        is given replaces the other. Raises ValueError for an invalid value.
        """
        pair = ("points_per_side", "point_grids")
        changes: dict[str, Any] = dict.fromkeys(pair) if name in pair else {}
        return replace(self, **changes | {name: value})


class HasOptions:
    """An object with ``options``, each of them an attribute that may be assigned: an invalid value
    raises ValueError. ``point_grids`` also holds the grids that points_per_side gives.
    """

    options: GeneratorOptions

    def __getattr__(self, name: str) -> Any:
        if name in NAMES:
            return self.options.grids if name == "point_grids" else getattr(self.options, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name in NAMES:
            name, value = "options", self.options.with_one(name, value)
        super().__setattr__(name, value)


DEFAULTS = GeneratorOptions()
NAMES = tuple(f.name for f in fields(GeneratorOptions))
SELECTING = tuple(f.name for f in fields(GeneratorOptions) if f.metadata.get("selects"))
OF_MODEL = tuple(f.name for f in fields(GeneratorOptions) if f.metadata.get("of_model"))
# Thresholds of variants that give their masks lower scores than Meta's models.
THRESHOLDS = {"nano": {"pred_iou_thresh": 0.85, "stability_score_thresh": 0.9}}


def check_arguments(given: Sequence[Any]) -> None:
    """Raise ValueError for invalid arguments of ``GeneratorOptions``, in its order; thresholds that
    are None are the model's own.
    """
    values = dict(zip(NAMES, given))
    GeneratorOptions(**{n: v for n, v in values.items() if v is not None or n not in OF_MODEL})


def thresholds_of(config: SamConfig) -> dict[str, float]:
    """pred_iou_thresh and stability_score_thresh for a model: its config's, its variant's, or
    Meta's.
    """
    meta = {name: getattr(DEFAULTS, name) for name in OF_MODEL}
    own = {n: value for n in OF_MODEL if (value := getattr(config, n)) is not None}
    return meta | THRESHOLDS.get(config.variant, {}) | own


def with_thresholds(
    options: GeneratorOptions, config: SamConfig, given: Mapping[str, Any]
) -> GeneratorOptions:
    """The options with the model's own thresholds in place of those that are not given, or None."""
    own = thresholds_of(config)
    missing: dict[str, Any] = {name: own[name] for name in OF_MODEL if given.get(name) is None}
    return replace(options, **missing)
