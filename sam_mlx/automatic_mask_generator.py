"""Everything in an image (original: ``segment_anything/automatic_mask_generator.py``).

A grid of points is put to the model, and of its answers those are kept that the model thinks
good, that hardly depend on the threshold, and that no better one repeats.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import partial
from itertools import cycle, product
from pathlib import Path

import mlx.core as mx
import numpy as np
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from . import transforms
from .files import write_whole
from .masks import (
    box_area,
    compress_rle,
    decode_rle,
    encode_rle,
    mask_boxes,
    nms,
    profile_boxes,
    remove_small_regions,
    rle_area,
    stability_counts,
    to_xywh,
)
from .modeling.elementwise import parallel_streams
from .modeling.prompt_encoder import FOREGROUND
from .modeling.sam import Sam
from .predictor import ImageEmbedding, SamPredictor, predict_in_parts

# Pixels of logits at the image's size held at a time: 32 MB. On x86, memory of larger buffers
# comes fresh from the system each time, at a page fault per 4 KB.
PIXELS_AT_ONCE = 8 << 20
CROP_EDGE = 20  # pixels; a box this near to a crop's edge was probably cut by it

OUTPUT_MODES = ("binary_mask", "uncompressed_rle", "coco_rle")
Band = tuple[slice, mx.array]  # of ``transforms.upscaling``
Progress = bool | Callable[[int, int], None] | None


@dataclass(frozen=True)
class MaskPredictions:
    """The model's answers for one image, before any is judged: N masks, each of one point.

    Answers whose predicted IoU is not above ``keep_iou`` are missing.
    """

    image_size: np.ndarray  # (2,) height, width, pixels
    model_size: np.ndarray  # () the side of the model's input frame, pixels
    keep_iou: np.ndarray  # ()
    crop_boxes: np.ndarray  # (K, 4) x0, y0, x1, y1 in the image, x1 and y1 exclusive
    crop: np.ndarray  # (N,) index into crop_boxes
    points: np.ndarray  # (N, 2) x, y in the image, float64
    predicted_iou: np.ndarray  # (N,) float32
    logits: mx.array  # (N, n, n) low-resolution masks of the crop

    def save(self, path: str | Path) -> None:
        """Write a .safetensors file, whole or not at all."""
        arrays = {f.name: np.ascontiguousarray(getattr(self, f.name)) for f in fields(self)}
        metadata = {"format": "sam_mlx.MaskPredictions"}
        write_whole(path, lambda name: save_file(arrays, name, metadata))

    @classmethod
    def load(cls, path: str | Path) -> MaskPredictions:
        """Raises FileNotFoundError, or ValueError when the file holds something else."""
        if not Path(path).exists():
            raise FileNotFoundError(f"no such mask predictions: {path}")
        try:
            with safe_open(path, "np") as file:
                if (file.metadata() or {}).get("format") != "sam_mlx.MaskPredictions":
                    raise ValueError("it was not written by MaskPredictions.save")
                arrays = {f.name: file.get_tensor(f.name) for f in fields(cls)}
            return cls(**{**arrays, "logits": mx.array(arrays["logits"])})
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise ValueError(f"{path} does not hold mask predictions: {error}") from error


@dataclass(frozen=True)
class Candidates:
    """Masks that passed the thresholds, all arrays of one length N."""

    logits: mx.array  # (N, n, n) low-resolution masks of the crop
    points: np.ndarray  # (N, 2) x, y in the image
    predicted_iou: np.ndarray  # (N,)
    stability_score: np.ndarray  # (N,)
    boxes: np.ndarray  # (N, 4) x0, y0, x1, y1 in the image, inclusive
    crop_boxes: np.ndarray  # (N, 4) x0, y0, x1, y1 in the image, exclusive

    def take(self, index: np.ndarray) -> Candidates:
        arrays = {f.name: getattr(self, f.name)[index] for f in fields(self)[1:]}
        logits = self.logits[mx.array(index)]
        mx.eval(logits)  # or it would keep all the others alive
        return Candidates(logits, **arrays)

    @staticmethod
    def join(parts: Sequence[Candidates]) -> Candidates:
        arrays = {
            f.name: np.concatenate([getattr(part, f.name) for part in parts])
            for f in fields(Candidates)[1:]
        }
        return Candidates(mx.concatenate([part.logits for part in parts]), **arrays)


@dataclass(frozen=True)
class Selection:
    """What decides which of the model's answers become records, and in which form."""

    pred_iou_thresh: float
    stability_score_thresh: float
    stability_score_offset: float
    box_nms_thresh: float
    crop_nms_thresh: float
    min_mask_region_area: float
    output_mode: str

    def __post_init__(self):
        for name, value in ((f.name, getattr(self, f.name)) for f in fields(self)[:-1]):
            if not isinstance(value, (int, float, np.number)) or math.isnan(value):
                raise ValueError(f"{name} is {value!r}; expected a number")
        if self.min_mask_region_area < 0:
            raise ValueError(
                f"min_mask_region_area is {self.min_mask_region_area}; expected pixels, 0 or more"
            )
        if self.output_mode not in OUTPUT_MODES:
            raise ValueError(
                f"output_mode is {self.output_mode!r}; expected one of {', '.join(OUTPUT_MODES)}"
            )


class SamAutomaticMaskGenerator:
    """Masks of everything in an image, as records.

    The arguments, their defaults, and the records' keys, values and order are those of the
    original:

    points_per_side: points along each side of the image, or None with ``point_grids``, one array
    (N, 2) of x, y in [0, 1] for each crop layer. points_per_batch: points put to the model at
    once. pred_iou_thresh, stability_score_thresh, stability_score_offset, box_nms_thresh: which
    masks stay (``masks.stability_scores``, ``masks.nms``). crop_n_layers: layer i repeats the
    search on 2^i x 2^i crops, overlapping by crop_overlap_ratio of the shorter side in the first,
    with crop_n_points_downscale_factor^i times fewer points a side; crop_nms_thresh drops what
    crops find again. min_mask_region_area: islands and holes of fewer pixels go (needs scipy).
    output_mode: "binary_mask", "uncompressed_rle" or "coco_rle".

    Raises ValueError for arguments that do not fit.
    """

    def __init__(
        self,
        model: Sam,
        points_per_side: int | None = 32,
        points_per_batch: int = 64,
        pred_iou_thresh: float = 0.88,
        stability_score_thresh: float = 0.95,
        stability_score_offset: float = 1.0,
        box_nms_thresh: float = 0.7,
        crop_n_layers: int = 0,
        crop_nms_thresh: float = 0.7,
        crop_overlap_ratio: float = 512 / 1500,
        crop_n_points_downscale_factor: int = 1,
        point_grids: Sequence[np.ndarray] | None = None,
        min_mask_region_area: int = 0,
        output_mode: str = "binary_mask",
    ):
        whole = {"points_per_batch": (points_per_batch, 1), "crop_n_layers": (crop_n_layers, 0)}
        if points_per_side is not None:
            whole["points_per_side"] = points_per_side, 1
        for name, (value, least) in whole.items():
            if not isinstance(value, (int, np.integer)) or value < least:
                raise ValueError(f"{name} is {value!r}; expected a whole number from {least}")
        if not 0 <= crop_overlap_ratio < 1:
            raise ValueError(f"crop_overlap_ratio is {crop_overlap_ratio}; expected 0 <= it < 1")
        if not crop_n_points_downscale_factor > 0:
            raise ValueError(
                f"crop_n_points_downscale_factor is {crop_n_points_downscale_factor}; expected a "
                "number above 0"
            )
        if (points_per_side is None) == (point_grids is None):
            raise ValueError(
                "points_per_side and point_grids exclude each other: give one, and None for the "
                "other"
            )
        if points_per_side is not None:
            point_grids = layered_point_grids(
                points_per_side, crop_n_layers, crop_n_points_downscale_factor
            )
        self.point_grids = check_point_grids(point_grids, crop_n_layers)
        self.predictor = SamPredictor(model)
        self.points_per_batch = points_per_batch
        self.pred_iou_thresh = pred_iou_thresh
        self.stability_score_thresh = stability_score_thresh
        self.stability_score_offset = stability_score_offset
        self.box_nms_thresh = box_nms_thresh
        self.crop_n_layers = crop_n_layers
        self.crop_nms_thresh = crop_nms_thresh
        self.crop_overlap_ratio = crop_overlap_ratio
        self.crop_n_points_downscale_factor = crop_n_points_downscale_factor
        self.min_mask_region_area = min_mask_region_area
        self.output_mode = output_mode
        self._selection()

    @classmethod
    def from_pretrained(
        cls,
        path_or_repo: str | Path,
        *,
        dtype: mx.Dtype | str | None = None,
        revision: str | None = None,
        **arguments,
    ) -> SamAutomaticMaskGenerator:
        """A generator with the model that ``sam_mlx.loading.from_pretrained`` finds."""
        return cls(Sam.from_pretrained(path_or_repo, dtype=dtype, revision=revision), **arguments)

    def generate(
        self,
        image: str | Path | Image.Image | np.ndarray | ImageEmbedding,
        progress: Progress = None,
    ) -> list[dict]:
        """Masks of everything in an image, in the original's order.

        image: as ``SamPredictor.set_image`` takes it, or an embedding, which has no crops.
        progress: True for a bar, or a function called with the points done and all points.

        Each record has segmentation, (H, W) bool or an RLE; area in pixels; bbox as x, y, width,
        height (see ``sam_mlx.masks``); predicted_iou; point_coords [[x, y]]; stability_score;
        crop_box as x, y, width, height. Equal to ``select(predict(image))``, but holds only the
        masks that are still candidates.
        """
        selection = self._selection()
        parts = self._predict(image, selection.pred_iou_thresh, progress)
        return self._select(parts, selection)

    def predict(
        self,
        image: str | Path | Image.Image | np.ndarray | ImageEmbedding,
        keep_iou: float | None = None,
        progress: Progress = None,
    ) -> MaskPredictions:
        """All that needs the model: its answers, for ``select`` to choose from.

        keep_iou: answers with a predicted IoU up to this are dropped; by default the generator's
        ``pred_iou_thresh``. Lower it to try lower thresholds, at 262 KB an answer (a 32x32 grid
        has 3072); 0 keeps all.
        """
        keep_iou = self.pred_iou_thresh if keep_iou is None else keep_iou
        parts = list(self._predict(image, keep_iou, progress))
        joined = {
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in ("crop", "points", "predicted_iou")
        }
        logits = mx.concatenate([part.logits for part in parts])
        mx.eval(logits)
        return replace(parts[0], **joined, logits=logits)

    def select(
        self,
        predictions: MaskPredictions,
        *,
        pred_iou_thresh: float | None = None,
        stability_score_thresh: float | None = None,
        stability_score_offset: float | None = None,
        box_nms_thresh: float | None = None,
        crop_nms_thresh: float | None = None,
        min_mask_region_area: float | None = None,
        output_mode: str | None = None,
    ) -> list[dict]:
        """All that only filters: records as ``generate`` gives them, without the model.

        What is not given is the generator's own. Raises ValueError when ``predictions`` lack
        masks that ``pred_iou_thresh`` asks for.
        """
        selection = self._selection(
            pred_iou_thresh=pred_iou_thresh,
            stability_score_thresh=stability_score_thresh,
            stability_score_offset=stability_score_offset,
            box_nms_thresh=box_nms_thresh,
            crop_nms_thresh=crop_nms_thresh,
            min_mask_region_area=min_mask_region_area,
            output_mode=output_mode,
        )
        kept = predictions.keep_iou.item()
        if kept > max(selection.pred_iou_thresh, 0):
            raise ValueError(
                f"pred_iou_thresh is {selection.pred_iou_thresh}, but the predictions hold only "
                f"masks above {kept}: make them with predict(image, keep_iou=...)"
            )
        return self._select([predictions], selection)

    def _selection(self, **given) -> Selection:
        own = {f.name: getattr(self, f.name) for f in fields(Selection)}
        return Selection(**own | {name: v for name, v in given.items() if v is not None})

    def _predict(self, image, keep_iou: float, progress: Progress) -> Iterator[MaskPredictions]:
        """The model's answers, a batch of points at a time."""
        if isinstance(image, ImageEmbedding):
            if self.crop_n_layers > 0:
                raise ValueError(
                    f"an ImageEmbedding has no pixels to crop, and crop_n_layers is "
                    f"{self.crop_n_layers}: pass the image, or use crop_n_layers=0"
                )
            size = image.original_size
        else:
            image = transforms.load_image(image)
            size = image.shape[:2]
        crop_boxes, layers = generate_crop_boxes(size, self.crop_n_layers, self.crop_overlap_ratio)
        total = sum(len(self.point_grids[layer]) for layer in layers)
        answers = partial(
            MaskPredictions,
            np.array(size),
            np.array(self.predictor.model.config.image_size),
            np.array(float(keep_iou)),
            np.array(crop_boxes),
        )
        done = 0
        with reporting(progress, total) as report:
            for k, ((x0, y0, x1, y1), layer) in enumerate(zip(crop_boxes, layers)):
                if isinstance(image, ImageEmbedding):
                    self.predictor.set_image_embedding(image)
                else:
                    self.predictor.set_image(image[y0:y1, x0:x1])
                points = self.point_grids[layer] * np.array([x1 - x0, y1 - y0])
                for i in range(0, len(points), self.points_per_batch):
                    batch = points[i : i + self.points_per_batch]
                    logits, iou, source = self._answers(batch, keep_iou)
                    yield answers(np.full(len(iou), k), batch[source] + (x0, y0), iou, logits)
                    done += len(batch)
                    report(done, total)
                self.predictor.reset_image()
                mx.clear_cache()

    def _answers(
        self, points: np.ndarray, keep_iou: float
    ) -> tuple[mx.array, np.ndarray, np.ndarray]:
        """Logits (N, n, n), predicted IoU (N,) and index of the point (N,) of what is kept."""
        predictor = self.predictor
        config = predictor.model.config
        coords = transforms.apply_coords(points, predictor.original_size, config.image_size)
        logits, iou = predict_in_parts(
            predictor.model,
            predictor.features,
            (mx.array(coords.astype(np.float32))[:, None], mx.full((len(points), 1), FOREGROUND)),
        )
        mx.eval(logits, iou)
        B, M = iou.shape
        iou = np.array(iou.astype(mx.float32)).reshape(-1)
        keep = above(iou, keep_iou)
        logits = logits.flatten(0, 1)[mx.array(keep)]
        mx.eval(logits)
        return logits, iou[keep], np.repeat(np.arange(B), M)[keep]

    def _select(self, parts: Iterable[MaskPredictions], selection: Selection) -> list[dict]:
        """Records from answers of one image that come in parts, crop after crop."""
        finished: list[Candidates] = []
        crop, found = 0, []
        for part in parts:
            for k in np.unique(part.crop):
                if k != crop:
                    finished += best_of(found, selection.box_nms_thresh)
                    crop, found = k, []
                found.append(self._judge(part, np.flatnonzero(part.crop == k), selection))
        finished += best_of(found, selection.box_nms_thresh)
        if not finished:
            return []
        kept = Candidates.join(finished)
        if len(part.crop_boxes) > 1:
            # What a smaller crop found is preferred.
            scores = np.float32(1) / box_area(kept.crop_boxes).astype(np.float32)
            kept = kept.take(nms(kept.boxes, scores, selection.crop_nms_thresh))
        return self._records(kept, part, selection)

    def _judge(self, part: MaskPredictions, index: np.ndarray, selection: Selection) -> Candidates:
        """Those of the answers ``index``, all of one crop, that pass every filter of their own."""
        crop_box = part.crop_boxes[part.crop[index[0]]]
        index = index[above(part.predicted_iou[index], selection.pred_iou_thresh)]
        x0, y0, x1, y1 = crop_box.tolist()
        rows, columns = self._upscaling(part, crop_box)
        at_once = max(1, PIXELS_AT_ONCE // (len(rows[0][1]) * (x1 - x0)))
        stability, boxes = [np.zeros(0, np.float32)], [np.zeros((0, 4), int)]
        for i in range(0, len(index), at_once):
            logits = part.logits[mx.array(index[i : i + at_once])]
            inner, outer, box = self._measure(logits, rows, columns, selection)
            with np.errstate(invalid="ignore"):
                stability.append(np.array(inner, np.float32) / np.array(outer, np.float32))
            boxes.append(np.array(box) + (x0, y0, x0, y0))
        stability, boxes = np.concatenate(stability), np.concatenate(boxes)

        keep = ~near_crop_edge(boxes, crop_box, part.image_size)
        if selection.stability_score_thresh > 0:
            keep &= stability >= selection.stability_score_thresh
        index = index[keep]
        logits = part.logits[mx.array(index)]
        mx.eval(logits)
        return Candidates(
            logits,
            part.points[index],
            part.predicted_iou[index],
            stability[keep],
            boxes[keep],
            np.repeat(crop_box[None], len(index), axis=0),
        )

    def _measure(
        self, logits: mx.array, rows: list[Band], columns: list[Band], selection: Selection
    ) -> tuple[mx.array, mx.array, mx.array]:
        """Stability counts (N,), (N,) and boxes (N, 4) of masks at the crop's size."""
        threshold, offset = self.predictor.model.mask_threshold, selection.stability_score_offset
        measured, streams = [], parallel_streams()
        for row_band, stream in zip(rows, cycle(streams)):
            with mx.stream(stream):
                x = strip(logits, row_band, columns)
                is_set = x > threshold
                counts = stability_counts(x, threshold, offset)
                measured.append((is_set.sum(axis=1), is_set.sum(axis=2), *counts))
            if stream == streams[-1]:
                mx.eval(measured[-len(streams) :])
        in_columns, in_rows, inner, outer = zip(*measured)
        boxes = profile_boxes(sum(in_columns), mx.concatenate(in_rows, axis=1))
        return sum(inner), sum(outer), boxes

    def _upscaling(
        self, part: MaskPredictions, crop_box: np.ndarray
    ) -> tuple[list[Band], list[Band]]:
        """What brings low-resolution masks to the crop's rows and columns."""
        x0, y0, x1, y1 = crop_box.tolist()
        n, side = part.logits.shape[-1], part.model_size.item()
        size = y1 - y0, x1 - x0
        input_size = transforms.preprocess_shape(size, side)
        rows, columns = (
            transforms.upscaling(n, side, inner, outer) for inner, outer in zip(input_size, size)
        )
        return rows, columns

    def _records(self, kept: Candidates, part: MaskPredictions, selection: Selection) -> list[dict]:
        rles, boxes = self._encode(kept, part)
        order = np.arange(len(rles))
        if selection.min_mask_region_area > 0 and len(rles):
            threshold = max(selection.box_nms_thresh, selection.crop_nms_thresh)
            order = clean_regions(rles, boxes, selection.min_mask_region_area, threshold)
            rles = [rles[i] for i in order]
        areas = [rle_area(rle) for rle in rles]
        segmentations = rles
        if selection.output_mode == "coco_rle":
            segmentations = compress_rle(rles)
        elif selection.output_mode == "binary_mask":
            segmentations = [decode_rle([rle])[0] for rle in rles]
        columns = (
            to_xywh(boxes[order]).tolist(),
            kept.predicted_iou[order].tolist(),
            kept.points[order].tolist(),
            kept.stability_score[order].tolist(),
            to_xywh(kept.crop_boxes[order]).tolist(),
        )
        return [
            {
                "segmentation": segmentation,
                "area": area,
                "bbox": box,
                "predicted_iou": iou,
                "point_coords": [point],
                "stability_score": stability,
                "crop_box": crop_box,
            }
            for segmentation, area, box, iou, point, stability, crop_box in zip(
                segmentations, areas, *columns
            )
        ]

    def _encode(self, kept: Candidates, part: MaskPredictions) -> tuple[list[dict], np.ndarray]:
        """RLEs of the masks in the image, and their boxes (N, 4)."""
        H, W = part.image_size.tolist()
        at_once = max(1, PIXELS_AT_ONCE // (H * W))
        rles, boxes = [], [np.zeros((0, 4), int)]
        # Masks of one crop are neighbours after its suppression, not after that between crops.
        starts = np.flatnonzero((np.diff(kept.crop_boxes, axis=0) != 0).any(axis=1)) + 1
        for index in np.split(np.arange(len(kept.points)), starts):
            if len(index) == 0:
                continue
            x0, y0, x1, y1 = kept.crop_boxes[index[0]].tolist()
            rows, columns = self._upscaling(part, kept.crop_boxes[index[0]])
            for i in range(0, len(index), at_once):
                logits = kept.logits[mx.array(index[i : i + at_once])]
                threshold = self.predictor.model.mask_threshold
                masks = [strip(logits, band, columns) > threshold for band in rows]
                masks = mx.concatenate(masks, axis=1)
                boxes.append(np.array(mask_boxes(masks)) + (x0, y0, x0, y0))
                masks = mx.pad(masks, ((0, 0), (y0, H - y1), (x0, W - x1)))
                rles += encode_rle(masks)
        return rles, np.concatenate(boxes)


def best_of(parts: list[Candidates], nms_thresh: float) -> list[Candidates]:
    """One crop's candidates without duplicates, best first; nothing of nothing."""
    if not parts:
        return []
    found = Candidates.join(parts)
    return [found.take(nms(found.boxes, found.predicted_iou, nms_thresh))]


def strip(logits: mx.array, rows: Band, columns: list[Band]) -> mx.array:
    """One band of rows of masks (N, n, n) at full size: (N, h, W) float32."""
    band, matrix = rows
    x = matrix @ logits[:, band].astype(mx.float32)
    return mx.concatenate([x[..., part] @ m.T for part, m in columns], axis=-1)


def above(predicted_iou: np.ndarray, threshold: float) -> np.ndarray:
    """Indices of scores above the threshold; as in the original, 0 and less let all pass."""
    if threshold <= 0:
        return np.arange(len(predicted_iou))
    return np.flatnonzero(predicted_iou > np.float32(threshold))


def near_crop_edge(boxes: np.ndarray, crop_box: np.ndarray, image_size: np.ndarray) -> np.ndarray:
    """Which boxes (N, 4) touch an edge of the crop that is none of the image's."""
    height, width = image_size.tolist()
    near_crop = np.abs(boxes - crop_box) <= CROP_EDGE
    near_image = np.abs(boxes - (0, 0, width, height)) <= CROP_EDGE
    return (near_crop & ~near_image).any(axis=1)


def clean_regions(
    rles: list[dict], boxes: np.ndarray, min_area: float, nms_thresh: float
) -> np.ndarray:
    """Clean the masks in place (``masks.remove_small_regions``); returns which to keep, in order.

    A cleaned mask can repeat another: of two the untouched one is preferred
    (``postprocess_small_regions``).
    """
    untouched = np.ones(len(rles), np.float32)
    for i, rle in enumerate(rles):
        mask, filled = remove_small_regions(decode_rle([rle])[0], min_area, "holes")
        mask, dropped = remove_small_regions(mask, min_area, "islands")
        if filled or dropped:
            untouched[i] = 0
            rles[i] = encode_rle(mask[None])[0]
            boxes[i] = np.array(mask_boxes(mx.array(mask[None])))[0]
    return nms(boxes, untouched, nms_thresh)


def build_point_grid(n_per_side: int) -> np.ndarray:
    """n x n points (n*n, 2), row by row, at the centres of equal cells of the unit square."""
    offset = 1 / (2 * n_per_side)
    centres = np.linspace(offset, 1 - offset, n_per_side)
    x, y = np.meshgrid(centres, centres)
    return np.stack([x, y], axis=-1).reshape(-1, 2)


def layered_point_grids(n_per_side: int, n_layers: int, downscale: float) -> list[np.ndarray]:
    """One grid for the image and one for each crop layer, each ``downscale`` times coarser."""
    sides = [int(n_per_side / downscale**layer) for layer in range(n_layers + 1)]
    if 0 in sides:
        raise ValueError(
            f"points_per_side={n_per_side} and crop_n_points_downscale_factor={downscale} leave "
            f"{sides} points a side for the crop layers; expected at least 1 in each"
        )
    return [build_point_grid(side) for side in sides]


def check_point_grids(grids: Sequence[np.ndarray], n_layers: int) -> list[np.ndarray]:
    grids = [np.asarray(grid) for grid in grids]
    if len(grids) <= n_layers:
        raise ValueError(
            f"point_grids has {len(grids)} grids; expected {n_layers + 1}: one for the image and "
            f"one for each of the {n_layers} crop layers"
        )
    for i, grid in enumerate(grids):
        if grid.ndim != 2 or grid.shape[1] != 2 or len(grid) == 0:
            raise ValueError(
                f"point_grids[{i}] has shape {grid.shape}; expected (N, 2), N >= 1: x, y in [0, 1]"
            )
        if not (np.isfinite(grid).all() and grid.min() >= 0 and grid.max() <= 1):
            raise ValueError(f"point_grids[{i}] holds values outside [0, 1]")
    return grids


def generate_crop_boxes(
    image_size: tuple[int, int], n_layers: int, overlap_ratio: float
) -> tuple[list[list[int]], list[int]]:
    """Crops as x0, y0, x1, y1 (exclusive) and their layers: the image, then 2^i x 2^i for i >= 1.

    Crops that would be empty, as a very small image has, are left out; the original fails.
    """
    height, width = image_size
    boxes, layers = [[0, 0, width, height]], [0]
    for layer in range(1, n_layers + 1):
        n = 2**layer
        overlap = int(overlap_ratio * min(height, width) * (2 / n))
        crop_width, crop_height = (
            math.ceil((overlap * (n - 1) + side) / n) for side in (width, height)
        )
        for i, j in product(range(n), repeat=2):
            x0, y0 = (crop_width - overlap) * i, (crop_height - overlap) * j
            if x0 < width and y0 < height:
                boxes.append([x0, y0, min(x0 + crop_width, width), min(y0 + crop_height, height)])
                layers.append(layer)
    return boxes, layers


@contextmanager
def reporting(progress: Progress, total: int) -> Iterator[Callable[[int, int], None]]:
    """The function to report progress to, (done, total); True makes it a bar."""
    if progress is not True:
        yield progress or (lambda done, total: None)
        return
    from tqdm import tqdm

    with tqdm(total=total, unit="point") as bar:
        yield lambda done, total: bar.update(done - bar.n)
