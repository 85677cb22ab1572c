"""The arguments of instance segmentation, declared once: micro-sam's, with its defaults.

Derived from here: the checks of ``InstanceSegmenter``, what ``select`` can override, the flags of
``sam-mlx auto``, and the sliders of the page.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..automatic.options import OUTPUT_MODES
from ..options import NUMBER, Rule, check, number, one_of, option, whole_number

MODES = ("ais", "apg")
SHARE = number("a number from 0 to 1", lambda share: 0 <= share <= 1)
SIGMA = number("pixels, from 0 to 100", lambda sigma: 0 <= sigma <= 100)
MIN_SIZE = {"ais": 0, "apg": 25}  # pixels; micro-sam's defaults
YES_OR_NO = one_of(True, False)
AUTO = "auto"
LOGIT = Rule(
    f"a number, or {AUTO!r}",
    lambda value: value == AUTO if isinstance(value, str) else NUMBER.fits(value),
)


@dataclass(frozen=True)
class InstanceOptions:
    """micro-sam's arguments of both modes. Those of one mode do nothing in the other."""

    mode: str = option("ais", "how instances are made of the maps", choices=MODES, flag=False)
    center_distance_threshold: float = option(
        0.5, "ais, apg: seeds are where the distance to the centre is below this", SHARE
    )
    boundary_distance_threshold: float = option(
        0.5, "ais, apg: and where the inverted distance to the boundary is below this", SHARE
    )
    foreground_threshold: float = option(
        0.5, "ais, apg: and where the foreground is above this", SHARE
    )
    foreground_smoothing: float = option(1.0, "ais: sigma that smooths the foreground", SIGMA)
    distance_smoothing: float = option(1.6, "ais: sigma that smooths both distances", SIGMA)
    min_size: int | None = option(
        None, "ais, apg: drop instances of fewer pixels (default: 0 for ais, 25 for apg)",
        whole_number(0), of=int,
    )  # fmt: skip
    multimasking: bool = option(
        False, "apg: the best of three masks for each point", YES_OR_NO, flag=False
    )
    batch_size: int = option(
        32, "apg: points put to the model at once", whole_number(1), changes_results=False
    )
    nms_threshold: float = option(0.9, "apg: mask IoU above which a mask repeats another", SHARE)
    intersection_over_min: bool = option(
        False, "apg: compare with the smaller mask, not the union", YES_OR_NO, flag=False
    )
    mask_threshold: float | str = option(
        0.0, "apg: logits above this are the mask; 'auto': one for each mask", LOGIT, flag=False
    )
    refine_with_box_prompts: bool = option(
        False, "apg: ask again with the boxes of the masks", YES_OR_NO, flag=False
    )
    output_mode: str = option("binary_mask", "form of the masks", choices=OUTPUT_MODES, flag=False)

    def __post_init__(self) -> None:
        check(self)

    @property
    def smallest(self) -> int:
        """Pixels of the smallest instance that stays."""
        return MIN_SIZE[self.mode] if self.min_size is None else self.min_size


DEFAULTS = InstanceOptions()
