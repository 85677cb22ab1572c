"""The decoder's maps of one picture, and instances as labels and records."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from ..automatic.selection import in_mode
from ..embedding import ImageEmbedding
from ..masks import Record, record_of, run_lengths

Score = tuple[float, float, list[float]]  # predicted IoU, stability, a point x, y


@dataclass(frozen=True, repr=False)
class InstanceMaps:
    """What the decoder says of a picture, each (H, W) float32 from 0 to 1, and its embedding."""

    foreground: np.ndarray  # the probability of any instance
    center_distances: np.ndarray  # from the centre of the instance: 0 there, 1 far from it
    boundary_distances: (
        np.ndarray
    )  # inverted, from its boundary: 0 in the middle, 1 at the boundary
    embedding: ImageEmbedding  # for prompts

    def __repr__(self) -> str:
        height, width = self.foreground.shape
        return f"InstanceMaps(image {height} x {width}, encoder {self.embedding.fingerprint[:8]})"


class Instances(list[Record]):
    """Records of instances, and the map of their labels."""

    def __init__(self, records: Iterable[Record], labels: np.ndarray):
        super().__init__(records)
        self.labels = labels  # (H, W) uint32: i + 1 where record i is, 0 elsewhere


def needed() -> tuple[ModuleType, ModuleType]:
    """scipy's ``ndimage`` and scikit-image's ``segmentation``. Raises ImportError without them."""
    try:
        from scipy import ndimage
        from skimage import segmentation
    except ImportError as error:
        raise ImportError(
            f"instances need {error.name}: pip install scipy scikit-image, or the extra instances; "
            "SamAutomaticMaskGenerator, in the shell --mode amg, works without"
        ) from error
    return ndimage, segmentation


def described(
    labels: np.ndarray,
    output_mode: str,
    score: Callable[[int, tuple[slice, slice], np.ndarray], Score],
) -> Instances:
    """Instances from their labels (H, W), numbered from 1 without gaps.

    score: of the instance of a label, from the slices of its box and its mask there.
    """
    ndimage, _ = needed()
    records, rles = list[Record](), []
    for i, box in enumerate(ndimage.find_objects(labels), 1):
        mask = labels[box] == i
        rles.append(run_lengths(mask, (box[0].start, box[1].start), labels.shape))
        predicted_iou, stability, point = score(i, box, mask)
        records.append({**record_of(rles[-1], predicted_iou, stability, [point]), "seg_id": i})
    segmentations = in_mode(rles, output_mode)
    for record, segmentation in zip(records, segmentations):
        record["segmentation"] = segmentation
    return Instances(records, labels)
