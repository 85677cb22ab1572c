"""One image, many prompts (original: ``segment_anything/predictor.py``)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import chain
from pathlib import Path

import mlx.core as mx
import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from . import transforms
from .checkpoints.options import LoadOptions
from .decoding import check_finite, decode_prompts
from .embedding import ImageEmbedding, check_fits, check_parts, encoder_fingerprint
from .full_size import enlarge
from .images import Source
from .large import LargeImage, WindowedPrompts, check_plain
from .machine.budget import budget
from .machine.streams import clear_cache, enter, stepwise
from .machine.worker import Cancel, at_work, checkpoint, long_work
from .messages import shown
from .overlay import Shown
from .prompts import Column, Prompt, Stacked, check_flags, check_prompt, check_prompts, stack
from .sam import Sam, check_model
from .samples import Range, check_range


class SamPredictor:
    """Embeds an image once, then predicts masks for prompts on it.

    The names, arguments, defaults, numpy types and shapes are those of the original.

    >>> from importlib.resources import files
    >>> from sam_mlx import SamPredictor
    >>> predictor = SamPredictor.from_pretrained("nano")
    >>> predictor.set_image(files("sam_mlx") / "assets" / "coins.png")
    >>> predictor
    SamPredictor(Sam(nano: ...), image 256 x 256)
    """

    def __init__(self, sam_model: Sam):
        check_model(sam_model, type(self))
        self.model = sam_model
        self._embedding: ImageEmbedding | None = None
        self._windows: WindowedPrompts | None = None
        self._shown = Shown()

    def __repr__(self) -> str:
        image = " x ".join(map(str, self.original_size)) if self.is_image_set else "not set"
        return f"SamPredictor({self.model!r}, image {image})"

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
    ) -> SamPredictor:
        """A predictor of the model that ``Sam.from_pretrained`` finds."""
        options = LoadOptions.of(
            dtype=dtype, quantize=quantize, revision=revision, adapter=adapter,
            image_size=image_size, preprocess=preprocess,
        )  # fmt: skip
        return cls(Sam.load(path_or_repo, options))

    def set_image(
        self,
        image: Source | LargeImage,
        image_format: str = "RGB",
        value_range: Range | None = None,
    ) -> None:
        """Embed an image: whatever ``images.load_image`` takes, with its arguments.

        Of a picture from ``large.open_large`` nothing is embedded yet: each prompt is answered in
        a window round it, and answers have their ``window``, whose masks they are.

        Raises ValueError or FileNotFoundError where it cannot be read; the previous image stays.
        """
        if isinstance(image, LargeImage):
            check_plain(image_format, value_range)
            self._embedding, self._windows, self._shown = None, self._in_windows(image), Shown()
            return
        self._embedding, self._windows = self.embed(image, image_format, value_range), None
        self._shown = Shown((image, image_format, self._embedding.value_range))

    def _in_windows(self, picture: LargeImage) -> WindowedPrompts:
        calls = lambda: self.fingerprint, self.embed, self.answers, self.at_full_size
        return WindowedPrompts(picture, self.model.config, *calls)

    @property
    def windows(self) -> WindowedPrompts:
        """The windows of the current picture, one of ``large.open_large``."""
        if self._windows is None:
            raise RuntimeError("no large picture: call set_image(open_large(...)) before this")
        return self._windows

    def embed(
        self, image: Source, image_format: str = "RGB", value_range: Range | None = None
    ) -> ImageEmbedding:
        """The embedding that ``set_image`` would make current; the current one stays."""
        enter()  # the image may be an MLX array
        value_range = check_range(value_range) or self.model.config.value_range
        return self._embed(transforms.load_image(image, image_format, value_range), value_range)

    @long_work
    def _embed(self, image: np.ndarray, value_range: Range | None) -> ImageEmbedding:
        size, config = image.shape[:2], self.model.config
        with stepwise():
            features = self.model.encode_features(transforms.preprocess(image, config))
            check_finite(self.model, None, *features.values())  # evaluates them
        clear_cache()  # or the process would keep the encoder's large temporaries
        input_size = transforms.input_size(size, config)
        return ImageEmbedding.of(features, size, input_size, self.fingerprint, value_range)

    @cached_property
    def fingerprint(self) -> str:
        """What an embedding must have been made by: a digest of the encoder's weights and sizes."""
        return encoder_fingerprint(self.model)

    @property
    def is_image_set(self) -> bool:
        """True if there is a current image."""
        return self._embedding is not None or self._windows is not None

    @property
    def original_size(self) -> tuple[int, int]:
        """Height and width of the current image, in pixels."""
        if self._windows is not None:
            return self._windows.picture.size
        return self.get_image_embedding().original_size

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the current image in the model's input frame, in pixels."""
        return self.get_image_embedding().input_size

    @property
    def features(self) -> mx.array:
        """The current image's embedding, (1, G, G, C)."""
        return self.get_image_embedding().features

    def get_image_embedding(self) -> ImageEmbedding:
        """The current image as a value that can be saved and set again."""
        if self._windows is not None:
            raise RuntimeError(
                "a large picture has an embedding for each window: windows.embedding(window)"
            )
        if self._embedding is None:
            raise RuntimeError("no image: call set_image(image) before predict()")
        return self._embedding

    def set_image_embedding(self, embedding: ImageEmbedding) -> None:
        """Continue with an image embedded earlier, by a model with the same encoder."""
        self.check_embedding(embedding)
        self._embedding, self._windows, self._shown = embedding, None, Shown()

    def check_embedding(self, embedding: ImageEmbedding) -> None:
        """Raise ValueError for an embedding from another encoder, or one that was altered."""
        check_parts(embedding)
        if embedding.fingerprint != self.fingerprint:
            raise ValueError(
                f"the embedding was made by encoder {shown(embedding.fingerprint)}, this model's "
                f"is {self.fingerprint}; embed the image again with set_image"
            )
        self.model.features_of(embedding.named_features)
        check_fits(embedding, self.model.config)

    def reset_image(self) -> None:
        """Forget the current image."""
        self._embedding, self._windows, self._shown = None, None, Shown()

    def predict(
        self,
        point_coords: ArrayLike | None = None,
        point_labels: ArrayLike | None = None,
        box: ArrayLike | None = None,
        mask_input: ArrayLike | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        hq_token_only: bool = False,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Masks for one prompt on the current image; any combination of prompts.

        point_coords: (N, 2) as x, y in pixels of the image, even outside it; point_labels:
        (N,), 1 foreground, 0 background, -1 not a point. box: (4,) as x0, y0, x1, y1 in pixels.
        mask_input: (1, 4G, 4G) logits of an earlier prediction (256x256 in released models).
        multimask_output: three masks for an ambiguous prompt, or the single best-defined one;
        SAM-HQ gives one mask in any case, refining the best of the three or the single one.
        hq_token_only: of SAM-HQ, its own mask without SAM's.

        Returns masks (C, H, W), bool, or float32 logits with ``return_logits``; predicted IoU
        (C,); low-resolution logits (C, 4G, 4G), which can be the next ``mask_input``.
        Raises RuntimeError without an image, ValueError for prompts in any other form, and for
        hq_token_only with a model that is not SAM-HQ.

        >>> from importlib.resources import files
        >>> from sam_mlx import SamPredictor
        >>> predictor = SamPredictor.from_pretrained("nano")
        >>> predictor.set_image(files("sam_mlx") / "assets" / "coins.png")
        >>> masks, scores, logits = predictor.predict([[138, 53]], [1])
        >>> masks.shape, masks.dtype, scores.shape, logits.shape
        ((3, 256, 256), dtype('bool'), (3,), (3, 160, 160))
        >>> mask = masks[scores.argmax()]
        """
        given = point_coords, point_labels, box, mask_input
        settings = check_flags(multimask_output, return_logits, hq_token_only)
        if self._windows is not None:
            return self._windows.predict(*given, *settings)
        embedding = self.get_image_embedding()
        prompt = check_prompt(*given, size=embedding.original_size, config=self.model.config)
        masks, scores, logits = self._predict(embedding, [prompt], *settings)
        if embedding is self._embedding:  # no other thread has set the next
            best = logits[0, [scores[0].argmax()]]
            self._shown = replace(self._shown, prompt=given[:3], logits=best)
        return masks[0], scores[0], logits[0]

    def show(self) -> Image.Image:
        """The current image with the last ``predict``'s prompt and best mask: a PIL image, which a
        notebook displays. Raises RuntimeError where no picture was set.
        """
        return self._shown.draw(lambda x: self.at_full_size(self.get_image_embedding(), x, False))

    def predict_batch(
        self,
        point_coords: Column = None,
        point_labels: Column = None,
        boxes: Column = None,
        mask_inputs: Column = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        hq_token_only: bool = False,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """B prompts on the current image at once, equal to B calls of ``predict``.

        Each argument is an array with a leading axis of B, or a sequence of B entries in the
        forms that ``predict`` takes: point lists may differ in length, and None stands for a
        prompt without that part. No prompts, as from a detector that found nothing, give no masks.

        Returns masks (B, C, H, W), predicted IoU (B, C), low-resolution logits (B, C, 4G, 4G).
        Raises as ``predict`` does, and ValueError for parts that differ in B.

        >>> from importlib.resources import files
        >>> from sam_mlx import SamPredictor
        >>> predictor = SamPredictor.from_pretrained("nano")
        >>> predictor.set_image(files("sam_mlx") / "assets" / "coins.png")
        >>> boxes = [[110, 28, 165, 82], [30, 30, 80, 90]]
        >>> masks, scores, _ = predictor.predict_batch(boxes=boxes, multimask_output=False)
        >>> masks.shape, scores.shape
        ((2, 1, 256, 256), (2, 1))
        """
        columns = point_coords, point_labels, boxes, mask_inputs
        settings = check_flags(multimask_output, return_logits, hq_token_only)
        if self._windows is not None:
            return self._windows.predict_batch(*columns, *settings)
        embedding = self.get_image_embedding()
        return self._predict(embedding, self._check(embedding, *columns), *settings)

    def predict_each(
        self,
        point_coords: Column = None,
        point_labels: Column = None,
        boxes: Column = None,
        mask_inputs: Column = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        hq_token_only: bool = False,
        cancel: Cancel | None = None,
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """What ``predict`` gives for each of B prompts on the image that is current now.

        The arguments are those of ``predict_batch``, whose answer for thousands of prompts would
        not fit into memory: this holds 16 answers (``machine.budget``). Bad prompts raise before
        the first answer. cancel: a ``threading.Event``, or another object with ``is_set``: once it
        is set, ``concurrent.futures.CancelledError`` is raised after the answers already held.
        """
        columns = point_coords, point_labels, boxes, mask_inputs
        settings = check_flags(multimask_output, return_logits, hq_token_only)
        if self._windows is not None:
            return self._windows.predict_each(*columns, *settings, cancel)
        embedding = self.get_image_embedding()
        prompts = self._check(embedding, *columns)
        at_once = budget().prompts

        def answers(i: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
            checkpoint(cancel)
            return zip(*self._predict(embedding, prompts[i : i + at_once], *settings))

        return chain.from_iterable(map(answers, range(0, len(prompts), at_once)))

    def _check(self, embedding: ImageEmbedding, *columns: Column) -> list[Prompt]:
        return check_prompts(*columns, size=embedding.original_size, config=self.model.config)

    @at_work
    def _predict(
        self,
        embedding: ImageEmbedding,
        prompts: Sequence[Prompt],
        multimask_output: bool | None,
        return_logits: bool,
        hq_token_only: bool = False,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """multimask_output: None for all masks, the single one first."""
        logits, scores = self.answers(embedding, prompts, multimask_output, hq_token_only)
        return self.at_full_size(embedding, logits, return_logits), scores, logits

    @at_work
    def answers(
        self,
        embedding: ImageEmbedding,
        prompts: Sequence[Prompt],
        multimask_output: bool | None = True,
        hq_token_only: bool = False,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Low-resolution logits (B, C, 4G, 4G) and predicted IoU (B, C) of checked prompts."""
        features = embedding.named_features
        answers = decode_prompts(self.model, features, prompts, multimask_output, hq_token_only)
        logits, scores = (np.array(x.astype(mx.float32)) for x in answers)
        check_finite(self.model, features, scores, logits)
        return logits, scores

    @at_work
    def at_full_size(
        self, embedding: ImageEmbedding, logits: np.ndarray, return_logits: bool
    ) -> np.ndarray:
        """Masks (B, C, H, W) of such logits, bool or with ``return_logits`` float32."""
        sizes = embedding.input_size, embedding.original_size, self.model.config.image_size
        threshold = None if return_logits else self.model.mask_threshold
        return enlarge(mx.array(logits), *sizes, threshold)

    def embed_prompt(
        self,
        point_coords: ArrayLike | None = None,
        point_labels: ArrayLike | None = None,
        box: ArrayLike | None = None,
        mask_input: ArrayLike | None = None,
    ) -> Stacked:
        """One prompt of ``predict`` in the form that ``Sam.predict_masks`` takes."""
        prompt = point_coords, point_labels, box, mask_input
        size, config = self.original_size, self.model.config
        return stack([check_prompt(*prompt, size=size, config=config)])
