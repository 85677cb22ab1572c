"""What all protocols work on: the models, the pictures, and the queue before the models."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..automatic.generator import SamAutomaticMaskGenerator
from ..instances.segmenter import InstanceSegmenter, has_decoder
from ..machine.budget import budget
from ..machine.cache import Cache
from ..machine.worker import Cancel, Lane
from ..masks import Record
from ..sam import Sam
from ..web.errors import Refusal, Stopped
from ..web.model import POINTS_AT_ONCE, Encoded, Model
from ..web.queue import Queue
from ..web.store import MAX_BYTES, MAX_PIXELS, Content
from .pictures import Pictures
from .shared import Share, Work, Works

BODY_THREADS = 4  # that read requests
ENCODING_THREADS = 2  # that decode pictures: so many decoded ones are in memory
MAX_ENCODINGS = 128  # that wait for those
MAX_SEARCHES = 32
MAX_FOUND_BYTES = 64 << 20  # of records that searches have found
RECORD_BYTES = 2000  # of a record beside its mask, about


class Backend:
    """The models by their names, of which the first is the usual one."""

    def __init__(
        self,
        models: Mapping[str, Sam],
        origins: Mapping[str, str] | None = None,
        *,
        max_pixels: int = MAX_PIXELS,
        max_bytes: int = MAX_BYTES,
    ):
        self.models = {name: Model(sam, name, {}) for name, sam in models.items()}
        self.origins = dict(origins or {})  # what models were loaded from, by their names
        self.pictures = Pictures(max_pixels, max_bytes)
        self.queue = Queue()
        self.threads = ThreadPoolExecutor(BODY_THREADS, "sam_mlx.serve.bodies")
        self.encoders = ThreadPoolExecutor(ENCODING_THREADS, "sam_mlx.serve.pictures")
        self.found: Cache[list[Record]] = Cache(MAX_FOUND_BYTES)  # of searches
        self._encodings: Works[Encoded] = Works(MAX_ENCODINGS)
        self._searches: Works[list[Record]] = Works(MAX_SEARCHES, patient=True)
        self.tools: dict[str, Any] = {}  # what each protocol keeps while the server runs
        self._share_memory()

    def _share_memory(self) -> None:
        for model in self.models.values():
            model.embeddings.max_bytes = budget().embedding_bytes // len(self.models)
            model.answers.max_bytes = budget().answer_bytes // len(self.models)

    def close(self) -> None:
        self.queue.close()
        for threads in (self.threads, self.encoders):
            threads.shutdown(wait=False, cancel_futures=True)
        for kept in self.tools.values():
            kept.close()
        self.pictures.close()

    def model(self, name: str | None = None) -> Model:
        """A model by its name, or the usual one. Raises Refusal, 404."""
        found = next(iter(self.models.values())) if name is None else self.models.get(name)
        if found is None:
            names = ", ".join(self.models)
            raise Refusal(404, f"there is no model of that name; this server has {names}")
        return found

    def add_model(self, name: str, sam: Sam, origin: str) -> None:
        """Serve one more model, as after a training."""
        self.models = {**self.models, name: Model(sam, name, {})}  # others may go through them
        self.origins[name] = origin
        self._share_memory()

    # Pictures to embeddings.

    def encode(self, model: Model, content: Content) -> Share[Encoded]:
        """A part in having a picture encoded. Raises Refusal, 503, when too many wait."""

        def begin(work: Work[Encoded]) -> None:
            self.encoders.submit(self._encode, model, content, work)

        return self._encodings.join((model.name, content.key), begin)

    def _encode(self, model: Model, content: Content, work: Work[Encoded]) -> None:
        try:
            work.future.set_result(self._embedded(model, content, work))
        except BaseException as error:
            work.future.set_exception(error)

    def _embedded(self, model: Model, content: Content, work: Work[Encoded]) -> Encoded:
        if (kept := model.embeddings.get(content.key)) is not None:
            return Encoded(content.key, kept)
        pixels = b"" if work.stopped.is_set() else content.pixels()
        if work.stopped.is_set():
            raise Stopped
        task = partial(embed, model, content.key, pixels)
        # Somebody waits for it, as for a click: in a later lane, clicks of others could hold it up
        # for ever. There are only as many at once as threads.
        work.job = self.queue.submit(task, "pictures", Lane.INTERACTIVE)
        return work.job.future.result()

    # Everything in a picture.

    def search(
        self, model: Model, content: Content, changed: dict[str, Any], owner: str
    ) -> Share[list[Record]]:
        """A part in a search by a grid of points.

        changed: arguments of ``SamAutomaticMaskGenerator``. Raises ValueError for invalid ones.
        """
        arguments = {"points_per_batch": POINTS_AT_ONCE, **changed, "output_mode": "coco_rle"}
        generator = SamAutomaticMaskGenerator(model.predictor.model, **arguments)

        def run(cancel: Cancel) -> list[Record]:
            whole = generator.crop_n_layers > 0
            picture = content.pixels() if whole else self._kept(model, content)
            return generator.generate(picture, cancel=cancel)

        return self._searched((model.name, content.key, repr(generator.options)), run, owner)

    def instances(self, model: Model, content: Content, owner: str) -> Share[list[Record]]:
        """A part in a search by the model's instance decoder."""

        def run(cancel: Cancel) -> list[Record]:
            segmenter = InstanceSegmenter(model.predictor.model, output_mode="coco_rle")
            return list(segmenter.generate(self._kept(model, content), cancel=cancel))

        return self._searched((model.name, content.key, "instances"), run, owner)

    def everything(self, model: Model, content: Content, owner: str) -> Share[list[Record]]:
        """A part in the search that suits the model: by its instance decoder, if it has one."""
        if has_decoder(model.predictor.model):
            return self.instances(model, content, owner)
        return self.search(model, content, {}, owner)

    def _kept(self, model: Model, content: Content) -> Any:
        """A picture's embedding, or if it has gone meanwhile its pixels."""
        kept = model.embeddings.get(content.key)
        return content.pixels() if kept is None else kept

    def _searched(
        self, key: tuple[str, ...], run: Callable[[Cancel], list[Record]], owner: str
    ) -> Share[list[Record]]:
        def begin(work: Work[list[Record]]) -> None:
            if (known := self.found.get(key)) is not None:
                work.future.set_result(known)
                return
            task = partial(run, Ending(work.stopped, self.queue))
            work.job = self.queue.submit(task, owner, Lane.AUTOMATIC)
            work.job.future.add_done_callback(partial(self._keep, work))

        return self._searches.join(key, begin)

    def _keep(self, work: Work[list[Record]], made: Future[list[Record]]) -> None:
        error = CancelledError() if made.cancelled() else made.exception()
        if error is not None:
            work.future.set_exception(error)
            return
        records = made.result()
        counts = sum(len(record["segmentation"]["counts"]) for record in records)
        self.found.put(work.key, records, counts + len(records) * RECORD_BYTES)
        work.future.set_result(records)


@dataclass(frozen=True)
class Ending:
    """The ``cancel`` of a search: set when nobody waits for it, or the server ends."""

    stopped: threading.Event
    queue: Queue

    def is_set(self) -> bool:
        return self.stopped.is_set() or self.queue.has_ended


def embed(model: Model, key: str, pixels: Any) -> Encoded:
    embedding = model.predictor.embed(pixels)
    model.embeddings.put(key, embedding, embedding.nbytes)
    return Encoded(key, embedding)
