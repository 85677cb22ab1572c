"""``segment_anything.utils.amg``: ``sam_mlx.masks`` and ``sam_mlx.automatic`` for tensors.

Functions of tensors give tensors on the same device.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Sequence
from copy import deepcopy
from typing import Any

import mlx.core as mx
import numpy as np

from ... import masks as M
from ...automatic import crops
from ..missing import unknown
from ..tensors import at_work, import_torch, is_tensor, to_numpy, to_tensor

Rle = M.Rle


class MaskData:
    """Lists, arrays and tensors of one length by name, filtered and joined together."""

    def __init__(self, **columns: Any):
        for column in columns.values():
            _check_column(column)
        self._stats = dict(columns)

    def __setitem__(self, key: str, item: Any) -> None:
        _check_column(item)
        self._stats[key] = item

    def __delitem__(self, key: str) -> None:
        del self._stats[key]

    def __getitem__(self, key: str) -> Any:
        return self._stats[key]

    def items(self) -> ItemsView[str, Any]:
        return self._stats.items()

    def filter(self, keep: Any) -> None:
        """Keep the rows that ``keep`` names, as bool or as indices."""
        index = np.arange(len(keep))[to_numpy(keep)] if _is_bool(keep) else to_numpy(keep)
        for key, column in self._stats.items():
            if isinstance(column, list):
                self._stats[key] = [column[i] for i in index.tolist()]
            elif is_tensor(column):
                self._stats[key] = column[to_tensor(index, column.device)]
            else:
                self._stats[key] = column[index]

    def cat(self, new_stats: MaskData) -> None:
        """Add the rows of another; columns that are not here yet are copied."""
        for key, column in new_stats.items():
            if self._stats.get(key) is None:
                self._stats[key] = deepcopy(column)
            elif isinstance(column, list):
                self._stats[key] = self._stats[key] + deepcopy(column)
            elif is_tensor(column):
                self._stats[key] = import_torch().cat([self._stats[key], column])
            else:
                self._stats[key] = np.concatenate([self._stats[key], column])

    def to_numpy(self) -> None:
        for key, column in self._stats.items():
            if is_tensor(column):
                self._stats[key] = to_numpy(column)


def _check_column(column: Any) -> None:
    if not (isinstance(column, (list, np.ndarray)) or is_tensor(column)):
        raise AssertionError(
            f"MaskData was given {type(column).__name__}; expected list, numpy array or tensor"
        )


def _is_bool(values: Any) -> bool:
    return str(values.dtype).removeprefix("torch.") == "bool"


def is_box_near_crop_edge(
    boxes: Any, crop_box: Sequence[int], orig_box: Sequence[int], atol: float = 20.0
) -> Any:
    """Whether boxes (N, 4) in the crop touch an edge of it that is not the picture's: (N,)."""
    in_picture = to_numpy(uncrop_boxes_xyxy(boxes, crop_box)).astype(np.float32)
    crop_edges, edges = (np.array(box, np.float32) for box in (crop_box, orig_box))
    near_crop, near_edge = (np.abs(in_picture - box) <= atol for box in (crop_edges, edges))
    return to_tensor((near_crop & ~near_edge).any(axis=1), boxes.device)


def box_xyxy_to_xywh(box_xyxy: Any) -> Any:
    """One box (4,), as array, tensor or list, to x, y, width, height."""
    box = deepcopy(box_xyxy)
    box[2] = box[2] - box[0]
    box[3] = box[3] - box[1]
    return box


def batch_iterator(batch_size: int, *args: Any) -> Iterator[list[Any]]:
    """Equally long sequences, ``batch_size`` entries of each at a time."""
    if not args or any(len(a) != len(args[0]) for a in args):
        raise AssertionError(
            f"batch_iterator was given lengths {[len(a) for a in args]}; expected equal ones"
        )
    for i in range(0, len(args[0]), batch_size):
        yield [a[i : i + batch_size] for a in args]


def mask_to_rle_pytorch(tensor: Any) -> list[Rle]:
    """Uncompressed RLE of masks (B, H, W)."""
    return M.encode_rle(to_numpy(tensor) != 0)


def rle_to_mask(rle: Rle) -> np.ndarray:
    """A bool mask (H, W)."""
    return M.decode_rle([rle])[0]


def area_from_rle(rle: Rle) -> int:
    return M.rle_area(rle)


def coco_encode_rle(uncompressed_rle: Rle) -> Rle:
    """With counts as str; pycocotools is not needed."""
    return M.compress_rle([uncompressed_rle])[0]


@at_work
def calculate_stability_score(masks: Any, mask_threshold: float, threshold_offset: float) -> Any:
    """Of logits (..., H, W): (...,) float32, NaN where both masks are empty."""
    with mx.stream(mx.cpu):  # a GPU may round the ratio across the threshold
        logits = mx.array(to_numpy(masks))
        scores = M.stability_scores(logits, mask_threshold, threshold_offset)
        return to_tensor(scores, masks.device)


def build_point_grid(n_per_side: int) -> np.ndarray:
    """n x n points (n*n, 2) in the unit square."""
    return crops.build_point_grid(n_per_side)


def build_all_layer_point_grids(
    n_per_side: int, n_layers: int, scale_per_layer: int
) -> list[np.ndarray]:
    return crops.layered_point_grids(n_per_side, n_layers, scale_per_layer)


def generate_crop_boxes(
    im_size: Sequence[int], n_layers: int, overlap_ratio: float
) -> tuple[list[list[int]], list[int]]:
    """Crops and their layers; those that would be empty are left out."""
    height, width = im_size
    return crops.generate_crop_boxes((height, width), n_layers, overlap_ratio)


def uncrop_boxes_xyxy(boxes: Any, crop_box: Sequence[int]) -> Any:
    """Boxes (..., 4) in a crop to boxes in the picture."""
    x0, y0, _, _ = crop_box
    return boxes + import_torch().tensor([x0, y0, x0, y0], device=boxes.device)


def uncrop_points(points: Any, crop_box: Sequence[int]) -> Any:
    """Points (..., 2) in a crop to points in the picture."""
    x0, y0, _, _ = crop_box
    return points + import_torch().tensor([x0, y0], device=points.device)


def uncrop_masks(masks: Any, crop_box: Sequence[int], orig_h: int, orig_w: int) -> Any:
    """Masks (..., h, w) of a crop to masks of the picture, (..., H, W)."""
    x0, y0, x1, y1 = crop_box
    if (x0, y0, x1, y1) == (0, 0, orig_w, orig_h):
        return masks
    pad = import_torch().nn.functional.pad
    return pad(masks, (x0, orig_w - x1, y0, orig_h - y1), value=0)


def remove_small_regions(
    mask: np.ndarray, area_thresh: float, mode: str
) -> tuple[np.ndarray, bool]:
    """Needs scipy, where the original needs OpenCV."""
    return M.remove_small_regions(mask, area_thresh, mode)


def batched_mask_to_box(masks: Any) -> Any:
    """Boxes (..., 4) of masks (..., H, W), int64; zeros for an empty mask.

    As in the original they are float32 where there are no masks.
    """
    shape = masks.shape[:-2]
    if masks.numel() == 0:
        return to_tensor(np.zeros((*shape, 4), np.float32), masks.device)
    is_set = to_numpy(masks).reshape(-1, *masks.shape[-2:]) != 0
    return to_tensor(M.mask_boxes(is_set).astype(np.int64).reshape(*shape, 4), masks.device)


__getattr__ = unknown(__name__)
