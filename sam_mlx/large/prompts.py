"""Prompts on a large picture: each is answered in a window round it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..config import SamConfig
from ..embedding import ImageEmbedding
from ..machine.budget import budget
from ..machine.cache import Cache
from ..machine.worker import Cancel, checkpoint
from ..modeling.prompt_encoder import NOT_A_POINT
from ..prompts import Column, Prompt, check_box, check_points, check_prompt, each_prompt
from ..registry import mask_decoder_of
from .picture import LargeImage
from .stored import StoredEmbeddings
from .window import Grid, Window, check_window

HELD_BYTES = 256 << 20  # of low-resolution masks, while their window's other prompts are answered

Embed = Callable[[np.ndarray], ImageEmbedding]  # of pixels (h, w, 3)
# Logits (B, C, n, n) and predicted IoU (B, C) of prompts on an embedding.
Decode = Callable[[ImageEmbedding, Sequence[Prompt], bool, bool], tuple[np.ndarray, np.ndarray]]
# Masks (B, C, h, w) of such logits, bool, or float32 with True.
Enlarge = Callable[[ImageEmbedding, np.ndarray, bool], np.ndarray]


class Answer(tuple[np.ndarray, np.ndarray, np.ndarray]):
    """What ``SamPredictor.predict`` returns for a large picture: masks (C, h, w) of a window,
    predicted IoU (C,), low-resolution logits (C, 4G, 4G); and ``window``, the masks' place.
    """

    window: Window

    def __new__(
        cls, masks: np.ndarray, scores: np.ndarray, logits: np.ndarray, window: Window
    ) -> Answer:
        answer = super().__new__(cls, (masks, scores, logits))
        answer.window = window
        return answer

    @property
    def masks(self) -> np.ndarray:
        """(M, h, w), bool: the masks in the window."""
        return self[0]

    @property
    def scores(self) -> np.ndarray:
        """(M,): the predicted IoU of each mask."""
        return self[1]

    @property
    def logits(self) -> np.ndarray:
        """(M, n, n): for ``mask_input`` in the same window."""
        return self[2]


class Answers(tuple[np.ndarray, np.ndarray, np.ndarray]):
    """What ``SamPredictor.predict_batch`` returns for B prompts on a large picture: masks (B,),
    each (C, h, w), for windows differ; predicted IoU (B, C); logits (B, C, 4G, 4G); and
    ``windows``, a list of the masks' places.
    """

    windows: list[Window]

    def __new__(cls, found: Sequence[Answer], C: int, n: int) -> Answers:
        B = len(found)
        masks = np.empty(B, object)
        scores, logits = np.zeros((B, C), np.float32), np.zeros((B, C, n, n), np.float32)
        for i, answer in enumerate(found):
            masks[i], scores[i], logits[i] = answer
        answers = super().__new__(cls, (masks, scores, logits))
        answers.windows = [answer.window for answer in found]
        return answers


@dataclass(frozen=True)
class Asked:
    """A prompt in the window where it is answered."""

    window: Window
    prompt: Prompt


class WindowedPrompts:
    """The windows of a large picture that a predictor has been asked about.

    Their embeddings are kept up to ``budget().embedding_bytes``, the least recently used go first;
    with ``keep_in`` they are files too.
    """

    def __init__(
        self,
        picture: LargeImage,
        config: SamConfig,
        fingerprint: Callable[[], str],
        embed: Embed,
        decode: Decode,
        enlarge: Enlarge,
    ):
        self.picture = picture.read_by(config.value_range)
        self.config, self.fingerprint = config, fingerprint
        self._embed, self._decode, self._enlarge = embed, decode, enlarge
        self.grid = Grid(picture.size, config.image_size, config.image_size // 4)
        self.cache: Cache[ImageEmbedding] = Cache(budget().embedding_bytes)
        self.stored: StoredEmbeddings | None = None

    def embedding(self, window: Window) -> ImageEmbedding:
        """The embedding of a window: kept, read from the folder, or made."""
        if (found := self.cache.get(window)) is not None:
            return found
        if self.stored:
            found = self.stored.read(window)
        if found is None:
            found = self._embed(self.picture.pixels(window)[0])
            if self.stored:
                self.stored.write(window, found)
        self.cache.put(window, found, found.nbytes)
        return found

    def keep_in(
        self, folder: str | Path, tile: int | None = None, overlap: int | None = None
    ) -> None:
        """Keep embeddings in a folder, from where later runs read them.

        tile, overlap: of the windows, in pixels; by default the model's input size, and half of
        it. Raises ValueError for a folder of another picture, model or tiles.
        """
        side = tile or self.config.image_size
        shared = side // 2 if overlap is None else overlap
        if side < 64 or not side // 4 <= shared < side:
            raise ValueError(
                f"tile is {side} and overlap {shared}; expected a tile of 64 pixels or more, and "
                "an overlap from a quarter of it, or objects at a border would lack context"
            )
        self.grid = Grid(self.picture.size, side, side - shared)
        made_from = {
            **self.picture.describe(),
            "encoder": self.fingerprint(),
            "tile": side,
            "overlap": shared,
        }
        self.stored = StoredEmbeddings(folder, made_from)
        self.cache = Cache(self.cache.max_bytes)

    def embed_tiles(
        self,
        folder: str | Path,
        tile: int | None = None,
        overlap: int | None = None,
        progress: bool | Callable[[int, int], None] | None = None,
        cancel: Cancel | None = None,
    ) -> None:
        """Embed windows of one size that cover the picture, ahead of prompts, into a folder.

        ``keep_in``, with the same arguments, finds them in a later run; a run that was stopped
        continues. Windows without a pixel that has a value are left out.
        """
        from tqdm import tqdm

        self.keep_in(folder, tile, overlap)
        windows = self.grid.all()
        with tqdm(total=len(windows), unit="window", disable=progress is not True) as bar:
            for done, window in enumerate(windows, 1):
                checkpoint(cancel)
                if not (self.stored and self.stored.has(window)):
                    self._make(window)
                bar.update()
                if callable(progress):
                    progress(done, len(windows))

    def _make(self, window: Window) -> None:
        pixels, valid = self.picture.pixels(window)
        if self.stored and valid.any():
            self.stored.write(window, self._embed(pixels))

    def predict(
        self,
        point_coords: ArrayLike | None = None,
        point_labels: ArrayLike | None = None,
        box: ArrayLike | None = None,
        mask_input: ArrayLike | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        hq_token_only: bool = False,
        window: Window | None = None,
    ) -> Answer:
        """``SamPredictor.predict``. window: where to ask, as of an earlier answer, whose logits
        are the ``mask_input``.
        """
        asked = self.ask(point_coords, point_labels, box, mask_input, window)
        settings = multimask_output, return_logits, hq_token_only
        return next(self._answers([asked], *settings))

    def predict_batch(
        self,
        point_coords: Column,
        point_labels: Column,
        boxes: Column,
        mask_inputs: Column,
        multimask_output: bool = True,
        return_logits: bool = False,
        hq_token_only: bool = False,
    ) -> Answers:
        """Answers of many prompts, as ``SamPredictor.predict_batch`` takes them, in their order."""
        asked = self.ask_each(point_coords, point_labels, boxes, mask_inputs)
        found = list(self._answers(asked, multimask_output, return_logits, hq_token_only))
        return Answers(found, self._masks_each(multimask_output), self.config.mask_size)

    def predict_each(
        self,
        point_coords: Column,
        point_labels: Column,
        boxes: Column,
        mask_inputs: Column,
        multimask_output: bool = True,
        return_logits: bool = False,
        hq_token_only: bool = False,
        cancel: Cancel | None = None,
    ) -> Iterator[Answer]:
        """The answers in the prompts' order. Of a few hundred prompts at a time, those of one
        window are answered together.
        """
        asked = self.ask_each(point_coords, point_labels, boxes, mask_inputs)
        each = self._masks_each(multimask_output)
        at_once = max(1, HELD_BYTES // (4 * each * self.config.mask_size**2))
        settings = multimask_output, return_logits, hq_token_only

        def some(i: int) -> Iterator[Answer]:
            checkpoint(cancel)
            return self._answers(asked[i : i + at_once], *settings)

        return chain.from_iterable(map(some, range(0, len(asked), at_once)))

    def _masks_each(self, multimask_output: bool) -> int:
        return mask_decoder_of(self.config).masks(self.config, multimask_output)

    def ask_each(self, *columns: Column) -> list[Asked]:
        """What is asked for each prompt, in their order."""
        return [self.ask(*prompt) for prompt in each_prompt(*columns)]

    def ask(
        self,
        coords: ArrayLike | None,
        labels: ArrayLike | None,
        box: ArrayLike | None,
        mask: ArrayLike | None,
        window: Window | None = None,
    ) -> Asked:
        """A prompt in pixels of the picture, checked, in its window."""
        size, config = self.picture.size, self.config
        check_prompt(coords, labels, box, mask, size=size, config=config)
        if coords is not None and labels is not None:
            coords, labels = check_points(coords, labels)
        box = None if box is None else check_box(box)
        window = self._window(coords, labels, box, mask, window)
        if coords is not None:
            coords = window.inside(np.asarray(coords))
        if box is not None:
            box = window.inside(box.reshape(2, 2)).reshape(4)
        prompt = check_prompt(coords, labels, box, mask, size=window.shape, config=config)
        return Asked(window, prompt)

    def _window(
        self, coords: Any, labels: Any, box: Any, mask: Any, window: Window | None
    ) -> Window:
        if window is not None:
            return check_window(window, self.picture.size)
        if mask is not None:
            raise ValueError(
                "mask_input is of one window of a large picture: say which, with "
                "predictor.windows.predict(..., mask_input=..., window=answer.window)"
            )
        corners = [] if box is None else [box.reshape(2, 2)]
        corners += [] if coords is None else [coords[labels != NOT_A_POINT]]
        points = np.concatenate(corners) if corners else np.zeros((0, 2))
        if len(points) == 0:
            raise ValueError("a prompt on a large picture needs a point or a box: it says where")
        return self.grid.around(*points.min(axis=0).tolist(), *points.max(axis=0).tolist())

    def _answers(
        self,
        asked: Sequence[Asked],
        multimask_output: bool,
        return_logits: bool,
        hq_token_only: bool,
    ) -> Iterator[Answer]:
        """Answers in order; first low-resolution masks, window after window, then large ones."""
        members: dict[Window, list[int]] = {}
        for i, one in enumerate(asked):
            members.setdefault(one.window, []).append(i)
        low: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        frames: dict[Window, ImageEmbedding] = {}  # their sizes; features are not kept
        for window, index in members.items():
            embedding = self.embedding(window)
            frames[window] = frame_of(embedding)
            prompts = [asked[i].prompt for i in index]
            found = self._decode(embedding, prompts, multimask_output, hq_token_only)
            low |= zip(index, zip(*found))
        for i, one in enumerate(asked):
            logits, scores = low.pop(i)
            masks = self._enlarge(frames[one.window], logits[None], return_logits)[0]
            yield Answer(masks, scores, logits, one.window)


def frame_of(embedding: ImageEmbedding) -> ImageEmbedding:
    """The sizes of an embedding without its features."""
    return ImageEmbedding(
        embedding.features[:0], embedding.original_size, embedding.input_size, embedding.fingerprint
    )
