"""What all protocols work on: the models, the pictures, and the queue before the models."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from ..automatic.generator import SamAutomaticMaskGenerator
from ..automatic.options import GeneratorOptions, thresholds_of
from ..automatic.pictures import Picture
from ..instances.options import InstanceOptions
from ..instances.segmenter import InstanceSegmenter, has_decoder
from ..machine.budget import budget
from ..machine.worker import Lane
from ..masks import Record
from ..sam import Sam
from ..web.errors import Refusal
from ..web.model import POINTS_AT_ONCE, Encoded, Model
from ..web.queue import Job, Queue
from ..web.store import MAX_BYTES, MAX_PIXELS, Content
from .pictures import Pictures

BODY_THREADS = 4  # that read requests
ENCODING_THREADS = 2  # that decode pictures: so many decoded ones are in memory
MAX_ENCODINGS = 128  # that wait for those


@dataclass(eq=False)
class Encoding:
    """A picture on its way to its embedding, for all who wait for it."""

    key: tuple[str, str]  # the model's name, and the picture's
    future: Future[Encoded] = field(default_factory=Future)
    waiting: int = 0
    job: Job[Encoded] | None = None

    @property
    def is_dropped(self) -> bool:
        return self.waiting == 0


@dataclass(eq=False)
class Share:
    """One client's part in an encoding, as ``Incoming.result_of`` takes it."""

    encoding: Encoding
    leave: Any

    @property
    def future(self) -> Future[Encoded]:
        return self.encoding.future

    def drop(self) -> None:
        self.leave(self.encoding)

    def why_cancelled(self) -> Refusal:
        return Refusal(503, "the server is shutting down")


@dataclass(eq=False)
class Search:
    """A search for everything, which stops when nobody waits for it."""

    job: Job[list[Record]]
    stopped: threading.Event

    @property
    def future(self) -> Future[list[Record]]:
        return self.job.future

    def drop(self) -> None:
        self.stopped.set()
        self.job.drop()

    def why_cancelled(self) -> Refusal:
        return self.job.why_cancelled()


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
        self._encodings: dict[tuple[str, str], Encoding] = {}
        self.tools: dict[str, Any] = {}  # what each protocol keeps while the server runs
        self._lock = threading.Lock()
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

    def encode(self, model: Model, content: Content) -> Share:
        """A part in having a picture encoded, which begins unless it has begun.

        Raises Refusal, 503, when too many wait.
        """
        key = model.name, content.key
        with self._lock:
            encoding = known = self._encodings.get(key)
            if encoding is None:
                if len(self._encodings) >= MAX_ENCODINGS:
                    raise Refusal(503, "the server has too much to do; ask again in a moment")
                encoding = self._encodings[key] = Encoding(key)
            encoding.waiting += 1
        if known is None:
            self.encoders.submit(self._encode, model, content, encoding)
        return Share(encoding, self._leave)

    def _leave(self, encoding: Encoding) -> None:
        with self._lock:
            encoding.waiting -= 1
            if encoding.is_dropped:
                self._forget(encoding)
        if encoding.is_dropped and encoding.job is not None:
            encoding.job.drop()

    def _forget(self, encoding: Encoding) -> None:
        if self._encodings.get(encoding.key) is encoding:
            del self._encodings[encoding.key]

    def _encode(self, model: Model, content: Content, encoding: Encoding) -> None:
        try:
            encoding.future.set_result(self._embedded(model, content, encoding))
        except BaseException as error:
            encoding.future.set_exception(error)
        finally:
            with self._lock:
                self._forget(encoding)

    def _embedded(self, model: Model, content: Content, encoding: Encoding) -> Encoded:
        if encoding.is_dropped:
            raise Refusal(503, "the client has gone")
        if (kept := model.embeddings.get(content.key)) is not None:
            return Encoded(content.key, kept)
        pixels = content.pixels()
        work = partial(embed, model, content.key, pixels)
        encoding.job = self.queue.submit(work, "pictures", Lane.ENCODE)
        return encoding.job.future.result()

    # Everything in a picture.

    def search(self, model: Model, content: Content, changed: dict[str, Any], owner: str) -> Search:
        """Begin a search by a grid of points.

        changed: arguments of ``SamAutomaticMaskGenerator``. Raises ValueError for invalid ones.
        """
        usual: dict[str, Any] = {**thresholds_of(model.config), "points_per_batch": POINTS_AT_ONCE}
        options = GeneratorOptions(**{**usual, **changed, "output_mode": "coco_rle"})

        def run(stopped: threading.Event) -> list[Record]:
            generator = SamAutomaticMaskGenerator(model.predictor.model)
            generator.options = options
            whole = options.crop_n_layers > 0
            picture: Picture = content.pixels() if whole else self._kept(model, content)
            return generator.generate(picture, cancel=stopped)

        return self._begin(run, owner)

    def instances(self, model: Model, content: Content, owner: str) -> Search:
        """Begin a search by the model's instance decoder."""

        def run(stopped: threading.Event) -> list[Record]:
            segmenter = InstanceSegmenter(model.predictor.model)
            segmenter.options = replace(InstanceOptions(), output_mode="coco_rle")
            return list(segmenter.generate(self._kept(model, content), cancel=stopped))

        return self._begin(run, owner)

    def everything(self, model: Model, content: Content, owner: str) -> Search:
        """Begin the search that suits the model: by its instance decoder, where it has one."""
        if has_decoder(model.predictor.model):
            return self.instances(model, content, owner)
        return self.search(model, content, {}, owner)

    def _kept(self, model: Model, content: Content) -> Picture:
        """A picture's embedding, or if it has gone meanwhile its pixels."""
        kept = model.embeddings.get(content.key)
        return content.pixels() if kept is None else kept

    def _begin(self, run: Any, owner: str) -> Search:
        stopped = threading.Event()
        job = self.queue.submit(partial(run, Ending(stopped, self.queue)), owner, Lane.AUTOMATIC)
        return Search(job, stopped)


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
