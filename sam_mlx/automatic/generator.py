"""The generator itself: its arguments, and the half of it that runs the model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from ..checkpoints.options import LoadOptions
from ..embedding import ImageEmbedding
from ..large import LargeImage, open_large
from ..machine.linux import own_memory
from ..machine.streams import ahead, clear_cache
from ..machine.worker import Cancel, checkpoint
from ..masks import Record
from ..messages import short
from ..predictor import SamPredictor
from ..sam import Sam, check_model
from ..samples import Range
from ..tiled.found import Found
from ..tiled.layout import TileOptions, region_of
from ..tiled.passes import Everything, record_of_found
from ..tiled.store import Store
from .answers import begin
from .crops import generate_crop_boxes
from .options import (
    DEFAULTS,
    NUMBER,
    GeneratorOptions,
    HasOptions,
    check_arguments,
    thresholds_of,
)
from .pictures import Picture, opened
from .predictions import MaskPredictions
from .progress import Progress, reporting
from .selection import Pause, select


class SamAutomaticMaskGenerator(HasOptions):
    """Masks of everything in an image, as records.

    The arguments, their defaults, and the records' keys, values and order are those of the
    original:

    points_per_side: points along each side of the image, or None with ``point_grids``, one array
    (N, 2) of x, y in [0, 1] for each crop layer. points_per_batch: points given to the model at
    once. pred_iou_thresh, stability_score_thresh, stability_score_offset, box_nms_thresh: which
    masks stay (``masks.stability_scores``, ``masks.nms``). Of the first two, None stands for the
    model's own: 0.88 and 0.95 for Meta's models, 0.85 and 0.9 for nano, and those in the config of
    a model that was fine-tuned. crop_n_layers: layer i
    repeats the search on 2^i x 2^i crops, overlapping by crop_overlap_ratio of the shorter side in
    the first, with crop_n_points_downscale_factor^i times fewer points a side; crop_nms_thresh
    drops what crops find again. min_mask_region_area: removes islands and holes of fewer pixels
    (needs scipy). output_mode: "binary_mask", "uncompressed_rle" or "coco_rle".

    Each is an attribute that may be assigned; together they are ``options``. Raises ValueError for
    invalid arguments, also when they are assigned.

    >>> from importlib.resources import files
    >>> from sam_mlx import SamAutomaticMaskGenerator
    >>> generator = SamAutomaticMaskGenerator.from_pretrained("nano", points_per_side=8)
    >>> generator.pred_iou_thresh = 0.8
    >>> generator.options
    GeneratorOptions(points_per_side=8, pred_iou_thresh=0.8, stability_score_thresh=0.9)
    >>> records = generator.generate(files("sam_mlx") / "assets" / "coins.png")
    >>> len(records) > 5, records[0]["segmentation"].shape
    (True, (256, 256))
    """

    def __init__(
        self,
        model: Sam,
        points_per_side: int | None = DEFAULTS.points_per_side,
        points_per_batch: int = DEFAULTS.points_per_batch,
        pred_iou_thresh: float | None = None,
        stability_score_thresh: float | None = None,
        stability_score_offset: float = DEFAULTS.stability_score_offset,
        box_nms_thresh: float = DEFAULTS.box_nms_thresh,
        crop_n_layers: int = DEFAULTS.crop_n_layers,
        crop_nms_thresh: float = DEFAULTS.crop_nms_thresh,
        crop_overlap_ratio: float = DEFAULTS.crop_overlap_ratio,
        crop_n_points_downscale_factor: int = DEFAULTS.crop_n_points_downscale_factor,
        point_grids: Sequence[np.ndarray] | None = DEFAULTS.point_grids,
        min_mask_region_area: float = DEFAULTS.min_mask_region_area,
        output_mode: str = DEFAULTS.output_mode,
    ):
        check_model(model, type(self))
        own = thresholds_of(model.config)
        self.options = GeneratorOptions(
            points_per_side, points_per_batch,
            own["pred_iou_thresh"] if pred_iou_thresh is None else pred_iou_thresh,
            own["stability_score_thresh"] if stability_score_thresh is None
            else stability_score_thresh,
            stability_score_offset, box_nms_thresh,
            crop_n_layers, crop_nms_thresh, crop_overlap_ratio, crop_n_points_downscale_factor,
            point_grids, min_mask_region_area, output_mode,
        )  # fmt: skip
        self.predictor = SamPredictor(model)

    def __repr__(self) -> str:
        return f"SamAutomaticMaskGenerator({self.predictor.model!r}, {self.options!r})"

    @classmethod
    def from_pretrained(
        cls,
        path_or_repo: str | Path,
        *,
        dtype: mx.Dtype | str | None = None,
        quantize: int | None = None,
        revision: str | None = None,
        adapter: str | Path | None = None,
        image_size: int | None = None,
        preprocess: str | None = None,
        points_per_side: int | None = DEFAULTS.points_per_side,
        points_per_batch: int = DEFAULTS.points_per_batch,
        pred_iou_thresh: float | None = None,
        stability_score_thresh: float | None = None,
        stability_score_offset: float = DEFAULTS.stability_score_offset,
        box_nms_thresh: float = DEFAULTS.box_nms_thresh,
        crop_n_layers: int = DEFAULTS.crop_n_layers,
        crop_nms_thresh: float = DEFAULTS.crop_nms_thresh,
        crop_overlap_ratio: float = DEFAULTS.crop_overlap_ratio,
        crop_n_points_downscale_factor: int = DEFAULTS.crop_n_points_downscale_factor,
        point_grids: Sequence[np.ndarray] | None = DEFAULTS.point_grids,
        min_mask_region_area: float = DEFAULTS.min_mask_region_area,
        output_mode: str = DEFAULTS.output_mode,
    ) -> SamAutomaticMaskGenerator:
        """A generator with the model that ``Sam.from_pretrained`` finds, and these arguments."""
        options = LoadOptions.of(
            dtype=dtype, quantize=quantize, revision=revision, adapter=adapter,
            image_size=image_size, preprocess=preprocess,
        )  # fmt: skip
        given = (
            points_per_side, points_per_batch,
            pred_iou_thresh, stability_score_thresh, stability_score_offset, box_nms_thresh,
            crop_n_layers, crop_nms_thresh, crop_overlap_ratio, crop_n_points_downscale_factor,
            point_grids, min_mask_region_area, output_mode,
        )  # fmt: skip
        check_arguments(given)  # before a model is loaded
        return cls(Sam.load(path_or_repo, options), *given)

    @own_memory()
    def generate(
        self,
        image: Picture,
        progress: Progress = None,
        value_range: Range | None = None,
        cancel: Cancel | None = None,
    ) -> list[Record]:
        """Masks of everything in an image, in the original's order.

        image, value_range: as ``SamPredictor.set_image`` takes them, or an embedding, which has no
        crops.
        progress: True for a bar, or a function called with the points done and all points.
        cancel: a ``threading.Event``, or another object with ``is_set``: once it is set, the work
        ends after the part under way, with ``concurrent.futures.CancelledError``.

        Each record has segmentation, (H, W) bool or an RLE; area in pixels; bbox as x, y, width,
        height (see ``sam_mlx.masks``); predicted_iou; point_coords [[x, y]]; stability_score;
        crop_box as x, y, width, height. Equal to ``select(predict(image))``, but holds only the
        masks that are still candidates.
        """
        options = self.options
        keep_iou = options.pred_iou_thresh
        pause = partial(checkpoint, cancel)
        answers = self._predict(image, options, keep_iou, progress, value_range, pause)
        try:
            return select(answers, options, pause)
        finally:
            clear_cache()

    def generate_large(
        self,
        source: Any,
        tile: int = 1024,
        overlap: int = 256,
        region: Sequence[int] | None = None,
        progress: Progress = None,
        cancel: Cancel | None = None,
    ) -> Iterator[Record]:
        """Masks of everything in a picture of any size, one after another, without seams.

        source: what ``large.open_large`` takes or gives. tile, overlap: in pixels; objects up to
        the overlap's size are found whole, cut ones are joined and asked about once more, and
        coarser searches find larger ones. region: x, y, width, height. progress: True for a bar of
        tiles, or a function called with the tiles done and all tiles. The other arguments are
        those of ``generate``; ``crop_n_layers`` has no meaning here.

        Records are those of ``generate``, from above to below, with positions in pixels of the
        picture; their segmentation is that of ``window``, x, y, width, height. With a ``scale``
        above 1, of large objects, each of its pixels is that many along both sides. Memory grows
        with the picture's width, not with its height.
        """
        search = self.search_large(
            source if isinstance(source, LargeImage) else open_large(source),
            TileOptions(tile, overlap),
            region,
            cancel=cancel,
        )
        with reporting(progress, len(search.tiles), "tile") as search.report:
            for one in search:
                yield record_of_found(one, search.region, self.options.output_mode)

    def search_large(
        self,
        picture: LargeImage,
        tiles: TileOptions,
        region: Sequence[int] | None = None,
        store: Store[list[Found]] | None = None,
        cancel: Cancel | None = None,
    ) -> Everything:
        """The search behind ``generate_large``. store: of tiles that are done already."""
        pause = partial(checkpoint, cancel)
        picture = picture.read_by(self.predictor.model.config.value_range)
        return Everything(
            picture=picture, region=region_of(picture, region), tile_options=tiles,
            store=store or Store(), pause=pause, predictor=self.predictor,
            find=partial(self._find, pause), options=self.options,
        )  # fmt: skip

    @own_memory()
    def _find(self, pause: Pause, pixels: np.ndarray, options: GeneratorOptions) -> list[Record]:
        answers = self._predict(pixels, options, options.pred_iou_thresh, None, None, pause)
        return select(answers, options, pause)

    @own_memory()
    def predict(
        self,
        image: Picture,
        keep_iou: float | None = None,
        progress: Progress = None,
        value_range: Range | None = None,
        cancel: Cancel | None = None,
    ) -> MaskPredictions:
        """The part that needs the model: its answers, for ``select`` to choose from.

        keep_iou: answers with a predicted IoU up to this are dropped; by default the generator's
        ``pred_iou_thresh``. Lower it to try lower thresholds, at 262 KB an answer (a 32x32 grid
        has 3072); 0 keeps all.
        """
        options = self.options
        if keep_iou is None:
            keep_iou = options.pred_iou_thresh
        elif not NUMBER.fits(keep_iou):
            raise ValueError(f"keep_iou is {short(keep_iou)}; expected {NUMBER.words}")
        pause = partial(checkpoint, cancel)
        parts = self._predict(image, options, keep_iou, progress, value_range, pause)
        return MaskPredictions.join(list(parts))

    @own_memory()
    def select(
        self,
        predictions: MaskPredictions,
        pred_iou_thresh: float | None = None,
        stability_score_thresh: float | None = None,
        stability_score_offset: float | None = None,
        box_nms_thresh: float | None = None,
        crop_nms_thresh: float | None = None,
        min_mask_region_area: float | None = None,
        output_mode: str | None = None,
    ) -> list[Record]:
        """The part that only filters: records as ``generate`` gives them, without the model.

        An argument that is None is the generator's own. Raises ValueError when ``predictions``
        lack masks that ``pred_iou_thresh`` asks for.
        """
        given: dict[str, Any] = dict(
            pred_iou_thresh=pred_iou_thresh, stability_score_thresh=stability_score_thresh,
            stability_score_offset=stability_score_offset, box_nms_thresh=box_nms_thresh,
            crop_nms_thresh=crop_nms_thresh, min_mask_region_area=min_mask_region_area,
            output_mode=output_mode,
        )  # fmt: skip
        options = replace(self.options, **{k: v for k, v in given.items() if v is not None})
        if not isinstance(predictions, MaskPredictions):
            raise ValueError(f"predictions is {short(predictions)}; expected what predict returns")
        predictions.check()
        kept = predictions.keep_iou.item()
        if kept > max(options.pred_iou_thresh, 0):
            raise ValueError(
                f"pred_iou_thresh is {options.pred_iou_thresh}, but the predictions hold only "
                f"masks above {kept}: make them with predict(image, keep_iou=...)"
            )
        return select([predictions], options)

    def _predict(
        self,
        image: Picture,
        options: GeneratorOptions,
        keep_iou: float,
        progress: Progress,
        value_range: Range | None,
        pause: Pause,
    ) -> Iterator[MaskPredictions]:
        """The model's answers, a batch of points at a time."""
        usual = self.predictor.model.config.value_range
        opened_image, size = opened(image, options.crop_n_layers, value_range, usual)
        if progress and options.crop_n_layers and isinstance(opened_image, np.ndarray):
            opened_image = opened_image.copy()  # a progress function may change the caller's
        crop_boxes, layers = generate_crop_boxes(
            size, options.crop_n_layers, options.crop_overlap_ratio
        )
        total = sum(len(options.grids[layer]) for layer in layers)
        config = self.predictor.model.config
        answers = partial(
            MaskPredictions,
            np.array(size),
            np.array(config.image_size),
            np.array(float(keep_iou)),
            np.array(crop_boxes),
            np.array(config.resize == "square"),
        )
        done = 0
        with reporting(progress, total) as report:
            for k, (crop_box, layer) in enumerate(zip(crop_boxes, layers)):
                embedding = self._embed_crop(opened_image, crop_box)
                grid = options.grids[layer] * embedding.original_size[::-1]
                starts = range(0, len(grid), options.points_per_batch)
                batches = [grid[i : i + options.points_per_batch] for i in starts]
                asked = partial(begin, self.predictor.model, embedding)
                begun = ahead(partial(asked, points) for points in batches)
                for points in batches:
                    pause()
                    logits, iou, source = next(begun)(keep_iou)
                    in_image = points[source] + crop_box[:2]
                    yield answers(np.full(len(iou), k), in_image, iou, logits)
                    done += len(points)
                    report(done, total)
                clear_cache()
        pause()

    def _embed_crop(
        self, image: np.ndarray | ImageEmbedding, crop_box: list[int]
    ) -> ImageEmbedding:
        """A call leaves nothing in the object: several threads may use one generator."""
        if isinstance(image, ImageEmbedding):
            self.predictor.check_embedding(image)
            return image
        x0, y0, x1, y1 = crop_box
        return self.predictor.embed(image[y0:y1, x0:x1])
