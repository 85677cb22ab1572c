"""The segmenter itself: its arguments, and the half of it that runs the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from ..automatic.pictures import Picture, opened
from ..automatic.progress import Progress, reporting
from ..checkpoints.options import LoadOptions
from ..embedding import ImageEmbedding
from ..full_size import upscale_masks
from ..large import LargeImage, open_large
from ..machine.linux import own_memory
from ..machine.worker import Cancel, checkpoint, long_work
from ..masks import Record
from ..modeling.instance_decoder import PART
from ..predictor import SamPredictor
from ..sam import Sam, check_model
from ..samples import Range
from ..tiled.found import Found
from ..tiled.layout import TileOptions, region_of
from ..tiled.passes import record_of_found
from ..tiled.store import Store
from .maps import InstanceMaps, Instances, needed
from .options import DEFAULTS, InstanceOptions
from .prompting import prompted
from .tile_prompts import Embeddings, Prompting
from .tiles import Flooding
from .watershed import flooded


class InstanceSegmenter:
    """All instances in a picture, by a model with an instance decoder (original: micro-sam).

    mode: "ais" makes instances of the decoder's maps alone, "apg" puts points to the model where
    the maps have seeds. The other arguments have micro-sam's names and defaults:
    center_distance_threshold, boundary_distance_threshold, foreground_threshold: where seeds are.
    min_size: pixels; by default 0 for "ais", 25 for "apg". Of "ais": foreground_smoothing,
    distance_smoothing, sigmas in pixels. Of "apg": multimasking, batch_size, nms_threshold,
    intersection_over_min, mask_threshold, refine_with_box_prompts. output_mode: that of
    ``SamAutomaticMaskGenerator``.

    Together they are ``options``. Raises ValueError for invalid arguments and for a model without
    such a decoder, ImportError without scipy or scikit-image.
    """

    def __init__(
        self,
        model: Sam,
        mode: str = DEFAULTS.mode,
        *,
        center_distance_threshold: float = DEFAULTS.center_distance_threshold,
        boundary_distance_threshold: float = DEFAULTS.boundary_distance_threshold,
        foreground_threshold: float = DEFAULTS.foreground_threshold,
        foreground_smoothing: float = DEFAULTS.foreground_smoothing,
        distance_smoothing: float = DEFAULTS.distance_smoothing,
        min_size: int | None = DEFAULTS.min_size,
        multimasking: bool = DEFAULTS.multimasking,
        batch_size: int = DEFAULTS.batch_size,
        nms_threshold: float = DEFAULTS.nms_threshold,
        intersection_over_min: bool = DEFAULTS.intersection_over_min,
        mask_threshold: float | str = DEFAULTS.mask_threshold,
        refine_with_box_prompts: bool = DEFAULTS.refine_with_box_prompts,
        output_mode: str = DEFAULTS.output_mode,
    ):
        check_model(model, type(self))
        self.options = InstanceOptions(
            mode, center_distance_threshold, boundary_distance_threshold, foreground_threshold,
            foreground_smoothing, distance_smoothing, min_size, multimasking, batch_size,
            nms_threshold, intersection_over_min, mask_threshold, refine_with_box_prompts,
            output_mode,
        )  # fmt: skip
        needed()
        if not has_decoder(model):
            raise ValueError(
                f"{model!r} has no instance decoder, which mode {mode!r} needs: use a model of "
                "micro-sam's with its decoder, such as vit_b_lm, or SamAutomaticMaskGenerator "
                "(in the shell --mode amg)"
            )
        self.predictor = SamPredictor(model)

    def __repr__(self) -> str:
        return f"InstanceSegmenter({self.predictor.model!r}, {self.options!r})"

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
        mode: str = DEFAULTS.mode,
        center_distance_threshold: float = DEFAULTS.center_distance_threshold,
        boundary_distance_threshold: float = DEFAULTS.boundary_distance_threshold,
        foreground_threshold: float = DEFAULTS.foreground_threshold,
        foreground_smoothing: float = DEFAULTS.foreground_smoothing,
        distance_smoothing: float = DEFAULTS.distance_smoothing,
        min_size: int | None = DEFAULTS.min_size,
        multimasking: bool = DEFAULTS.multimasking,
        batch_size: int = DEFAULTS.batch_size,
        nms_threshold: float = DEFAULTS.nms_threshold,
        intersection_over_min: bool = DEFAULTS.intersection_over_min,
        mask_threshold: float | str = DEFAULTS.mask_threshold,
        refine_with_box_prompts: bool = DEFAULTS.refine_with_box_prompts,
        output_mode: str = DEFAULTS.output_mode,
    ) -> InstanceSegmenter:
        """A segmenter with the model that ``Sam.from_pretrained`` finds, and these arguments.

        A decoder in a file of its own is found beside the model's: ``vit_b_decoder.pt`` beside
        ``vit_b.pt``.
        """
        options = LoadOptions.of(
            dtype=dtype, quantize=quantize, revision=revision, adapter=adapter,
            image_size=image_size, preprocess=preprocess,
        )  # fmt: skip
        # What is wrong with the others is told before a model is loaded.
        arguments = InstanceOptions(
            mode, center_distance_threshold, boundary_distance_threshold, foreground_threshold,
            foreground_smoothing, distance_smoothing, min_size, multimasking, batch_size,
            nms_threshold, intersection_over_min, mask_threshold, refine_with_box_prompts,
            output_mode,
        )  # fmt: skip
        return cls(Sam.load(path_or_repo, options), **asdict(arguments))

    @own_memory()
    def generate(
        self,
        image: Picture,
        progress: Progress = None,
        value_range: Range | None = None,
        cancel: Cancel | None = None,
    ) -> Instances:
        """Records of all instances, a list whose ``labels`` is the map of their labels (H, W).

        image, value_range: as ``SamPredictor.set_image`` takes them, or an embedding. progress:
        True for a bar, or a function called with the prompts done and all prompts. cancel: as
        ``SamAutomaticMaskGenerator.generate`` takes it.

        Records have the form of that generator's, and ``seg_id``, the label. With "ais"
        ``predicted_iou`` is the mean foreground of the instance, ``point_coords`` its innermost
        pixel, and ``stability_score`` NaN. Equal to ``select(predict(image))``.
        """
        return self._select(self.predict(image, value_range), self.options, progress, cancel)

    def generate_large(
        self,
        source: Any,
        tile: int = 1024,
        overlap: int = 256,
        region: Sequence[int] | None = None,
        progress: Progress = None,
        cancel: Cancel | None = None,
    ) -> Iterator[Record]:
        """Records of all instances in a picture of any size, one after another, without seams.

        The arguments are those of ``SamAutomaticMaskGenerator.generate_large``, and so are the
        records, with the values of ``generate``. Instances up to half a tile are found whole.
        """
        picture = source if isinstance(source, LargeImage) else open_large(source)
        search = self.search_large(picture, TileOptions(tile, overlap), region, cancel=cancel)
        with reporting(progress, len(search.tiles), "tile") as search.report:
            for i, one in enumerate(search, 1):
                record = record_of_found(one, search.region, self.options.output_mode)
                yield {**record, "seg_id": i}

    def search_large(
        self,
        picture: LargeImage,
        tiles: TileOptions,
        region: Sequence[int] | None = None,
        store: Store[np.ndarray] | None = None,
        cancel: Cancel | None = None,
        answers: Store[list[Found]] | None = None,
    ) -> Flooding | Prompting:
        """The search behind ``generate_large``. store: of tiles that are done already; answers: of
        their masks, with "apg".
        """
        picture = picture.read_by(self.predictor.model.config.value_range)
        given: dict[str, Any] = dict(
            picture=picture, region=region_of(picture, region), tile_options=tiles,
            store=store or Store(), pause=partial(checkpoint, cancel), options=self.options,
        )  # fmt: skip
        if self.options.mode == "ais":
            return Flooding(predict=partial(self._tile_maps, self.predictor.embed), **given)
        embeddings = Embeddings(self.predictor)
        predict = partial(self._tile_maps, embeddings)
        return Prompting(
            predict=predict, embeddings=embeddings, answers=answers or Store(), **given
        )

    @own_memory()
    def _tile_maps(
        self, embed: Callable[[np.ndarray], ImageEmbedding], pixels: np.ndarray
    ) -> np.ndarray:
        maps = self._maps(embed(pixels))
        return np.stack([maps.foreground, maps.center_distances, maps.boundary_distances])

    @own_memory()
    def predict(self, image: Picture, value_range: Range | None = None) -> InstanceMaps:
        """The part that needs the encoder: the decoder's maps, for ``select``."""
        picture, _ = opened(image, 0, value_range, self.predictor.model.config.value_range)
        if isinstance(picture, ImageEmbedding):
            self.predictor.check_embedding(picture)
            return self._maps(picture)
        return self._maps(self.predictor.embed(picture))

    @own_memory()
    def select(
        self,
        maps: InstanceMaps,
        progress: Progress = None,
        cancel: Cancel | None = None,
        *,
        mode: str | None = None,
        center_distance_threshold: float | None = None,
        boundary_distance_threshold: float | None = None,
        foreground_threshold: float | None = None,
        foreground_smoothing: float | None = None,
        distance_smoothing: float | None = None,
        min_size: int | None = None,
        multimasking: bool | None = None,
        batch_size: int | None = None,
        nms_threshold: float | None = None,
        intersection_over_min: bool | None = None,
        mask_threshold: float | str | None = None,
        refine_with_box_prompts: bool | None = None,
        output_mode: str | None = None,
    ) -> Instances:
        """Instances as ``generate`` gives them, from maps. With "ais" without the model.

        An argument that is None is the segmenter's own.
        """
        given = (
            mode, center_distance_threshold, boundary_distance_threshold, foreground_threshold,
            foreground_smoothing, distance_smoothing, min_size, multimasking, batch_size,
            nms_threshold, intersection_over_min, mask_threshold, refine_with_box_prompts,
            output_mode,
        )  # fmt: skip
        names = (f.name for f in fields(InstanceOptions))
        changed: dict[str, Any] = {n: v for n, v in zip(names, given) if v is not None}
        return self._select(maps, replace(self.options, **changed), progress, cancel)

    def _select(
        self,
        maps: InstanceMaps,
        options: InstanceOptions,
        progress: Progress,
        cancel: Cancel | None,
    ) -> Instances:
        pause = partial(checkpoint, cancel)
        pause()
        if options.mode == "ais":
            return flooded(maps, options)
        with reporting(progress, None) as report:
            return prompted(self.predictor.model, maps, options, report, pause)

    @long_work
    def _maps(self, embedding: ImageEmbedding) -> InstanceMaps:
        model = self.predictor.model
        maps = getattr(model, PART)(embedding.named_features)[0]  # (S, S, 3)
        sizes = embedding.input_size, embedding.original_size, model.config.image_size
        foreground, centre, boundary = np.array(upscale_masks(maps.transpose(2, 0, 1), *sizes))
        return InstanceMaps(foreground, centre, boundary, embedding)


def has_decoder(model: Sam) -> bool:
    """Whether a model has the decoder that instances are made with."""
    return PART in model
