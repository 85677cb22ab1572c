"""Automatic masks of a picture by the model's instance decoder: micro-sam's "ais".

The decoder's maps are made once; every choice of thresholds makes instances of them, without the
model. So that the same thresholds give the same ids, they are part of the ids, in hundredths.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any

from ..instances.maps import InstanceMaps
from ..instances.options import InstanceOptions
from ..instances.watershed import flooded
from ..machine.cache import Cache
from ..masks import Record
from .automatic import Run, no_mask, refuse_others
from .views import View

DEFAULTS = InstanceOptions("ais")
KEPT = 8  # choices of thresholds whose instances are kept
MAX_SIZE = 999_999_999  # pixels

Shown = list[dict[str, Any]]


@dataclass(frozen=True)
class Thresholds:
    """What the page's sliders set: arguments of ``InstanceSegmenter``."""

    center_distance_threshold: float = DEFAULTS.center_distance_threshold
    boundary_distance_threshold: float = DEFAULTS.boundary_distance_threshold
    foreground_threshold: float = DEFAULTS.foreground_threshold
    min_size: int = DEFAULTS.smallest  # pixels

    @classmethod
    def of(cls, given: dict[str, Any]) -> Thresholds:
        """Shares are taken to two digits. Raises Refusal, 400, for others' thresholds."""
        refuse_others(given, [f.name for f in fields(cls)])
        return cls(**{n: v if n == "min_size" else round(v * 100) / 100 for n, v in given.items()})

    @property
    def kind(self) -> str:
        *shares, size = asdict(self).values()
        return ".".join(map(str, [*(round(share * 100) for share in shares), size]))

    @classmethod
    def of_kind(cls, kind: str) -> Thresholds:
        centre, boundary, foreground, size = map(int, kind.split("."))
        return cls(centre / 100, boundary / 100, foreground / 100, size)


class InstanceRun(Run):
    """A search by the instance decoder. maps: gives those of the picture."""

    def __init__(self, number: int, maps: Callable[[], InstanceMaps], view: View | None = None):
        super().__init__(number, view)
        self.maps = maps
        self.kept: Cache[list[Record]] = Cache(KEPT)

    def at(self, thresholds: Thresholds) -> list[Record]:
        """Records of the instances, as compressed RLE."""
        found = self.kept.get(thresholds)
        if found is None:
            given = {**asdict(thresholds), "min_size": thresholds.min_size // self.scale**2}
            options = InstanceOptions("ais", output_mode="coco_rle", **given)
            found = [plain_record(record) for record in flooded(self.maps(), options)]
            found = found if self.view is None else self.view.whole(found)
            self.kept.put(thresholds, found, 1)
        return found

    def show(self) -> Shown:
        return self.shown(Thresholds())

    def shown(self, thresholds: Thresholds) -> Shown:
        found = self.at(thresholds)
        return [self.show_mask(thresholds.kind, i, record) for i, record in enumerate(found)]

    def found(self, name: str) -> Record:
        kind, index = self.parts(name)
        found = self.at(Thresholds.of_kind(kind)) if "." in kind else []
        if index >= len(found):
            raise no_mask()
        return found[index]

    def choose(self, given: dict[str, Any]) -> dict[str, Any]:
        """The ids of the instances that thresholds give, and these instances."""
        masks = self.shown(Thresholds.of(given))
        return {"ids": [mask["id"] for mask in masks], "changed": masks}


def plain_record(record: Record) -> Record:
    """A record like those of other searches. Instances have no stability score, and JSON no NaN."""
    plain: Record = {**record, "stability_score": 0.0}
    plain.pop("seg_id", None)
    return plain
