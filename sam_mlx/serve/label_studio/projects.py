"""What the server knows of Label Studio's projects, and of pictures that it has fetched."""

from __future__ import annotations

import json
import threading
import time
from collections import OrderedDict
from typing import Any

from ...web.errors import Refusal
from ...web.store import Content
from ..pictures import Pictures
from .media import Media
from .project import Project
from .training import Training

MAX_PROJECTS = 1000
MAX_PLACES = 10_000  # of pictures
FRESH_SECONDS = 600.0  # for which what is at an address counts as the same


class Projects:
    """All projects, the least recently used forgotten first. Callable from any thread."""

    def __init__(self, media: Media, training: Training | None = None):
        self.media, self.training = media, training
        self._projects: OrderedDict[str, Project] = OrderedDict()
        self._places: OrderedDict[Any, tuple[str, float]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, name: str) -> Project:
        """A project by its name: its number, a dot and the time at which it was made."""
        number = name.partition(".")[0]
        with self._lock:
            project = self._projects.setdefault(number, Project(number))
            self._projects.move_to_end(number)
            while len(self._projects) > MAX_PROJECTS:
                self._projects.popitem(last=False)
        return project

    def set_up(self, name: str, token: str | None, settings: Any) -> Project:
        """settings: JSON text that users may enter for a backend, such as {"model": "vit_b"}."""
        project = self.get(name)
        project.token = token or project.token
        project.model = named(settings)
        return project

    def forget(self, name: str) -> None:
        with self._lock:
            self._projects.pop(name.partition(".")[0], None)

    def close(self) -> None:
        if self.training is not None:
            self.training.close()

    def fetch(self, pictures: Pictures, project: Project, place: str, task: Any) -> Content:
        """A task's picture. Raises Refusal."""
        if place.startswith("data:"):
            return pictures.of_text(place)
        key = place, task, project.token
        with self._lock:
            name, until = self._places.get(key, ("", 0.0))
        if until > time.monotonic() and (kept := pictures.kept.get(name)) is not None:
            return kept
        most = pictures.store.max_bytes
        content = pictures.of_file(self.media.picture(place, task, project.token, most))
        with self._lock:
            self._places[key] = content.key, time.monotonic() + FRESH_SECONDS
            while len(self._places) > MAX_PLACES:
                self._places.popitem(last=False)
        return content


def named(settings: Any) -> str | None:
    """The model that a project's settings name, if they do."""
    if isinstance(settings, str) and settings.strip():
        try:
            settings = json.loads(settings)
        except (ValueError, RecursionError):
            raise Refusal(400, "the extra parameters are not JSON") from None
    if not isinstance(settings, dict) or settings.get("model") is None:
        return None
    return str(settings["model"])
