"""What the API works on, for as long as the server runs."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from ..machine.worker import Lane
from ..messages import printable
from ..sam import Sam
from ..samples import Range
from .automatic import PointRun
from .classes import Category
from .errors import Refusal, Stopped, reported
from .instances import InstanceRun
from .keeping import Keeper
from .large import LargeContent, encoded, is_large, key_of
from .model import Encoded, Model
from .names import names_of
from .open_sessions import Sessions
from .queue import Queue
from .sessions import Picture, Session
from .store import MAX_BYTES, MAX_PIXELS, Content, Store

FILE_THREADS = 2  # that decode and compress pictures
ON_TIME = 0.8  # the share of an encoding up to which its estimate is believed
FIRST_ENCODING_SECONDS = 1.0  # a guess, until a picture has been encoded
WRITE_SECONDS = 5.0  # that an answer waits for its change to be on disk
WHOLE = (
    "a large picture is searched in a window, which is missing here; for the whole picture run "
    "sam-mlx auto {} -o out --tile 1024"
)


class Backend:
    """The model and its queue, the pictures, and the sessions."""

    def __init__(
        self,
        model: Sam,
        name: str,
        pictures: list[Path],
        *,
        max_pixels: int = MAX_PIXELS,
        max_bytes: int = MAX_BYTES,
        value_range: Range | None = None,
        options: dict[str, Any] | None = None,
        classes: Sequence[Category] = (),
        folder: Path | None = None,
        file: Path | None = None,
        is_default: bool = False,
    ):
        """folder: where work is kept; None keeps it in memory. file: for the work of all pages.
        is_default: the user gave no pictures.
        """
        self.store = Store(max_pixels, max_bytes, value_range or model.config.value_range)
        self.model = Model(model, name, options or {})
        self.queue = Queue()
        self.threads = ThreadPoolExecutor(FILE_THREADS, "sam_mlx.web.files")
        self.left_out: list[str] = []  # pictures from the command line, and why
        self.keeper = Keeper(self.store, folder, file) if folder is not None else None
        self.writer = ThreadPoolExecutor(1, "sam_mlx.web.keep")
        named = zip(names_of(pictures), pictures)
        first = [one for name, path in named for one in self.first_picture(name, path)]
        self.sessions = Sessions(first, classes, self.keeper, is_default)
        self.store.make_room = self.sessions.close_idle
        self.encoding_seconds = FIRST_ENCODING_SECONDS  # of the last picture

    def first_picture(self, name: str, path: Path) -> list[tuple[str, Content]]:
        """A picture from the command line; a file that is not one is left out."""
        try:
            return [(name, self.content_of(path))]
        except (Refusal, OSError) as error:
            self.left_out.append(f"{path}: {error}")
            return []

    def content_of(self, path: Path) -> Content:
        if not is_large(path, self.store.max_pixels):
            return self.store.of_file(path)
        content = LargeContent(path, self.store.value_range)
        self.store.large[content.digest] = content
        return content

    def close(self) -> None:
        self.close_files()
        self.queue.close()

    def close_files(self) -> None:
        """Write what is not on disk, and remove temporary files. Comes first when a process ends,
        which has little time.
        """
        self.threads.shutdown(wait=False, cancel_futures=True)
        self.writer.shutdown(wait=False, cancel_futures=True)
        if self.keeper is not None:
            for session in self.sessions:
                self._write(session, whole=True)
            self.keeper.close()
        self.store.close()

    @property
    def place(self) -> str:
        """Where work is kept."""
        if self.keeper is None:
            return "memory"
        return printable(self.keeper.file or self.keeper.folder)

    def last_words(self) -> str:
        """What a user should know when the server ends."""
        left = "; what is being computed is given up" if self.queue.is_busy else ""
        if any(session.trouble for session in self.sessions):
            return f"Ending{left}. Not all work could be written to {self.place}."
        return f"Ending{left}. Work is kept, and found again at the next start."

    # Keeping work.

    async def keep(self, session: Session) -> None:
        """Have a session's changes written; ``session.trouble`` says why they are not, if so."""
        if self.keeper is None or session.written >= session.revision:
            session.trouble = None
            return
        loop = asyncio.get_running_loop()
        try:
            writing = loop.run_in_executor(self.writer, self._write, session)
            await asyncio.wait_for(asyncio.shield(writing), WRITE_SECONDS)
        except asyncio.TimeoutError:
            session.trouble = "the disk does not answer"
        except RuntimeError:  # the writer is shut down
            session.trouble = "the server is ending"

    def _write(self, session: Session, whole: bool = False) -> None:
        assert self.keeper is not None
        try:
            self.keeper.write(session, whole)
            session.trouble = None
        except OSError as error:
            session.trouble = f"the server cannot write to its disk: {error.strerror or error}"

    # Encoding.

    def encode(self, content: Content, owner: str) -> None:
        """Have a picture encoded for a session, unless it is or will be."""
        content.refresh()
        if content.tiles is not None:  # its windows are encoded as they are asked about
            return
        if content.key in self.model.embeddings or content.encoding is not None:
            return
        job = self.queue.submit(partial(self._encode, content), owner, Lane.ENCODE)
        content.error, content.encoding = None, time.monotonic()
        job.future.add_done_callback(partial(_encoded, content))

    def _encode(self, content: Content) -> None:
        pixels = content.pixels()
        if content.key in self.model.embeddings:  # another session sent the same file
            return
        content.encoding = start = time.monotonic()
        self.model.encode(content.key, pixels)
        self.encoding_seconds = max(time.monotonic() - start, 0.01)

    def encoding_share(self, content: Content) -> float | None:
        """How much of a picture's encoding is done, estimated; None if it is not being encoded."""
        if (since := content.encoding) is None:
            return None
        share = (time.monotonic() - since) / self.encoding_seconds
        if share <= ON_TIME:
            return share
        return 1 - (1 - ON_TIME) * math.exp((ON_TIME - share) / (1 - ON_TIME))  # slower, but on

    # Searches for automatic masks.

    def search(
        self,
        picture: Picture,
        owner: str,
        points_per_side: int,
        window: Sequence[int] | None = None,
        scale: int = 1,
    ) -> None:
        """Begin a search, in place of the picture's earlier one: by the model's instance decoder,
        where it has one, else with a grid of points.

        window, scale: what is searched of a large picture, ``LargeContent.view``.
        """
        content, view = picture.content, None
        if isinstance(content, LargeContent):
            if window is None:
                raise Refusal(400, WHOLE.format(picture.name))
            view = content.view(window, scale)
            key = key_of(content, view.window)
            encode = partial(encoded, self.model, content, view.window)
        elif window is not None:
            raise Refusal(400, "window is for large pictures: others are searched as a whole")
        else:
            key, encode = content.key, partial(self.model.encoded, content.key)
            encode()  # or it is refused now
        if self.model.segmenter is None:
            run: PointRun | InstanceRun = PointRun(picture.new_run(), points_per_side, view)
        else:
            run = InstanceRun(picture.new_run(), partial(self.model.maps, key, encode), view)
        run.job = self.queue.submit(partial(self._search, run, encode), owner, Lane.AUTOMATIC)
        self.stop(picture)
        picture.automatic = run

    def _search(self, run: PointRun | InstanceRun, encode: Callable[[], Encoded]) -> None:
        def progress(done: float) -> None:
            run.done = min(done, 0.99)
            self.queue.between()
            if run.stopped:
                raise Stopped

        try:
            if isinstance(run, PointRun):
                found = self.model.automatic(encode(), run.points_per_side, progress)
                run.records = found if run.view is None else run.view.whole(found)
            else:
                run.maps()
            run.done, run.is_done = 1.0, True
        except Exception as error:
            run.error = reported(error)
            raise

    def stop(self, picture: Picture) -> None:
        """End a picture's search, if there is one, and forget its masks."""
        run, picture.automatic = picture.automatic, None
        if run is not None:
            run.stopped = True
            if run.job:
                run.job.drop()


def _encoded(content: Content, future: Future[None]) -> None:
    if not future.cancelled() and (error := future.exception()):
        content.error = reported(error)
    content.encoding = None  # last: an answer in between would say that all is well
