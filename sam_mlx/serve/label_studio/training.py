"""Training on a project's annotations, in a process of its own; then the model is served."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ...files import output_folder
from ...interop.label_studio import from_label_studio
from ...masks import decode_rle, label_map
from ...messages import one_line
from ...sam import Sam
from ...web.errors import Refusal
from ...web.model import Model
from ..backend import Backend
from ..pictures import Pictures
from .media import Media
from .project import Project

MAX_EXPORT = 1 << 30  # bytes
END_SECONDS = 5.0  # for which a training's process may take to end


@dataclass
class Training:
    """One training after another, each in a folder of its own below ``folder``."""

    folder: Path
    media: Media
    iterations: int
    states: dict[str, str] = field(default_factory=dict)  # by job
    _process: subprocess.Popen[bytes] | None = None
    _busy: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.folder = output_folder(self.folder)

    def status(self, job: str) -> str:
        return self.states.get(job, "unknown")

    def begin(self, backend: Backend, model: Model, project: Project, number: Any) -> str:
        """Begin a training; returns its job. Raises Refusal, 409, while another is under way."""
        if not self._busy.acquire(blocking=False):
            raise Refusal(409, "another training is under way: wait until it has ended")
        job = self._new(project)
        self.states[job] = "started"
        work = threading.Thread(
            target=self._run, args=(backend, model, project, number, job), daemon=True
        )
        work.start()
        return job

    def _new(self, project: Project) -> str:
        """The name of a job that has no folder yet."""
        count = 1
        while (self.folder / f"project-{project.number}-{count}").exists():
            count += 1
        return f"project-{project.number}-{count}"

    def _run(self, backend: Backend, model: Model, project: Project, number: Any, job: str) -> None:
        try:
            place = self.folder / job
            place.mkdir(parents=True)
            count = self.export(backend.pictures, project, number, place / "data")
            self.states[job] = f"training on {count} pictures"
            self._train(backend.origins.get(model.name, model.name), place)
            made = place / "model"
            backend.add_model(job, Sam.from_pretrained(made), str(made))
            project.trained = job
            self.states[job] = "done"
        except Exception as error:
            logging.getLogger(__name__).error("a training failed", exc_info=error)
            self.states[job] = f"failed: {one_line(error)}"
        finally:
            self._busy.release()

    def export(self, pictures: Pictures, project: Project, number: Any, folder: Path) -> int:
        """A project's annotated pictures and their label images; returns how many.

        Raises Refusal where none is annotated.
        """
        address = f"{self.media.address}/api/projects/{int(number)}/export?exportType=JSON"
        tasks = json.loads(self.media.get(address, project.token, MAX_EXPORT))
        for part in ("images", "labels"):
            (folder / part).mkdir(parents=True)
        count = 0
        for task in tasks:
            regions = regions_of(task)
            if not (records := from_label_studio(regions)):
                continue
            place = next(iter(task["data"].values()))
            data = self.media.picture(
                place, task.get("id"), project.token, pictures.store.max_bytes
            )
            content = pictures.of_file(data)
            name = f"{task['id']}.png"
            Image.fromarray(content.pixels()).save(folder / "images" / name, compress_level=1)
            masks = [decode_rle([record["segmentation"]])[0] for record in records]
            labels = label_map(masks, content.size, np.uint16)
            Image.fromarray(labels).save(folder / "labels" / name)
            count += 1
        if not count:
            raise Refusal(400, "the project has no annotated masks yet")
        return count

    def _train(self, model: str, place: Path) -> None:
        """Raises RuntimeError with the last line of what the command printed."""
        command = [
            sys.executable, "-m", "sam_mlx", "finetune", str(place / "data"),
            "-o", str(place / "model"), "--model", model, "--iters", str(self.iterations),
        ]  # fmt: skip
        with (place / "log.txt").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
            code = self._process.wait()
        if code:
            lines = (place / "log.txt").read_text(errors="replace").splitlines() or [""]
            raise RuntimeError(f"{lines[-1]} (all of it is in {place / 'log.txt'})")

    def close(self) -> None:
        """End the process of a training that is under way."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_SECONDS)
            return
        self._process.kill()


def regions_of(task: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The regions of a task's newest annotation that was not skipped."""
    kept = [a for a in task.get("annotations") or [] if not a.get("was_cancelled")]
    found: Sequence[Mapping[str, Any]] = kept[-1].get("result") or [] if kept else []
    return found
