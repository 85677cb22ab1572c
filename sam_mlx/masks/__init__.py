"""Plain functions on masks: run lengths, boxes, stability, suppression, regions, outlines.

Masks are bool, (N, H, W) or (H, W), in numpy or MLX; numbers that are all 0 or 1 count as bool,
and others are refused, as they are set or not depending on the threshold meant.

Points are x, y and boxes x0, y0, x1, y1 in pixels; a mask's box names its outermost pixels, so x1
and y1 are inclusive and a single pixel's box has no area. Records hold boxes as x, y, width,
height with width = x1 - x0, as the original has it: one less than the number of columns. COCO
counts the columns (``rle_bbox``), and so do ``coco_annotations``.

An uncompressed RLE is ``{"size": [H, W], "counts": [...]}``: lengths of alternating runs of
unset and set pixels, column by column, beginning with unset ones. Compressed (COCO's) RLE has
the same counts as a string, which pycocotools has as bytes: either is taken wherever an RLE is.

>>> import numpy as np
>>> from sam_mlx import masks
>>> mask = np.zeros((1, 6, 8), bool)
>>> mask[0, 2:5, 3:7] = True
>>> masks.encode_rle(mask)
[{'size': [6, 8], 'counts': [20, 3, 3, 3, 3, 3, 3, 3, 7]}]
>>> (rle,) = masks.compress_rle(masks.encode_rle(mask))
>>> masks.rle_area(rle), masks.rle_box(rle), masks.rle_bbox(rle)
(12, [3, 2, 6, 4], [3, 2, 4, 3])
>>> (masks.decode_rle([rle]) == mask).all().item()
True
"""

from .arrays import Array, best_mask, check_mask, check_masks, label_map, largest_mask
from .boxes import box_area, box_iou, mask_boxes, nms, profile_boxes, rle_bbox, rle_box, to_xywh
from .contours import outlines, partners, polygons
from .painting import brush
from .records import (
    Record,
    coco_annotations,
    compressed_segmentations,
    record_of,
    with_mask,
)
from .regions import clean_rle, remove_small_regions
from .rle import (
    MAX_DIGITS,
    Rle,
    compress_rle,
    decode_part,
    decode_rle,
    encode_rle,
    rle_area,
    rle_counts,
    rle_size,
    run_lengths,
)
from .simplify import perimeter, simplified
from .stability import stability_counts, stability_ratio, stability_scores

__all__ = [
    "MAX_DIGITS",
    "Array",
    "Record",
    "Rle",
    "best_mask",
    "box_area",
    "box_iou",
    "brush",
    "check_mask",
    "check_masks",
    "clean_rle",
    "coco_annotations",
    "compress_rle",
    "compressed_segmentations",
    "decode_part",
    "decode_rle",
    "encode_rle",
    "label_map",
    "largest_mask",
    "mask_boxes",
    "nms",
    "outlines",
    "partners",
    "perimeter",
    "polygons",
    "profile_boxes",
    "record_of",
    "remove_small_regions",
    "rle_area",
    "rle_bbox",
    "rle_box",
    "rle_counts",
    "rle_size",
    "run_lengths",
    "simplified",
    "stability_counts",
    "stability_ratio",
    "stability_scores",
    "to_xywh",
    "with_mask",
]
