"""One of Label Studio's projects."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Project:
    """One of Label Studio's projects."""

    number: str
    token: str | None = None  # with which its media may be fetched
    model: str | None = None  # that its settings name
    trained: str | None = None  # the model trained for it
