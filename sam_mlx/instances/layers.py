"""Masks that overlap become instances that do not, part by part of a large picture.

The rules are those of ``prompting``: of masks that repeat each other the best stays; then each has
the pixels that no larger one has, and each connected part of these is an instance.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from ..tiled.duplicates import Duplicates, boxes_of, is_below, touches
from ..tiled.found import Found, common, common_area
from .maps import needed
from .options import InstanceOptions
from .prompting import connected


def goodness(one: Found) -> tuple[float, float, float]:
    """What masks are ordered by, the best first."""
    x, y = one.point
    return -one.predicted_iou * one.stability_score, y, x


def repeats(options: InstanceOptions, a: Found, b: Found) -> bool:
    """Whether one of two masks is a repetition of the other."""
    shared = common(a.box, b.box)
    if shared is None or min(shared[2] - shared[0], shared[3] - shared[1]) < 2:
        return False  # so it is in the original
    both = common_area(a, b)
    least = min(a.area, b.area) if options.intersection_over_min else a.area + b.area - both
    return both / least > options.nms_threshold


@dataclass
class Layers:
    """Masks, added from above to below; what nothing can change any more is given back."""

    options: InstanceOptions
    masks: Duplicates = field(init=False)
    kept: list[Found] = field(default_factory=list)  # no repetitions, and not given back
    above: list[Found] = field(default_factory=list)  # given back, but they may cover others

    def __post_init__(self) -> None:
        self.masks = Duplicates(partial(repeats, self.options), goodness)

    def add(self, found: Sequence[Found], next_top: int | None) -> list[Found]:
        """The finished instances; next_top: above it nothing more will come."""
        smallest = self.options.smallest
        self.masks.add([one for one in found if smallest == 0 or one.area > smallest])
        self.kept += self.masks.finished(lambda one: is_below(one.box, next_top))
        undecided = boxes_of(self.masks.waiting)
        ready = [one for one in self.kept if not touches(one.box, undecided)]
        instances = [part for one in ready for part in self._parts(one)]
        done = {id(one) for one in ready}
        self.kept = [one for one in self.kept if id(one) not in done]
        needed = boxes_of([*self.kept, *self.masks.waiting])
        self.above = [one for one in (*self.above, *ready) if touches(one.box, needed)]
        return sorted(instances, key=lambda one: (one.y, one.x))

    def _parts(self, one: Found) -> Iterator[Found]:
        """The connected parts of what larger masks leave of one."""
        mask, (x0, y0, _, _) = one.mask, one.box
        for other in (*self.kept, *self.above):
            shared = common(one.box, other.box)
            if shared is not None and size(other) < size(one):
                a, b, c, d = shared
                mask[b - y0 : d - y0, a - x0 : c - x0] &= ~other.within(shared)
        ndimage, _ = needed()
        parts = connected(mask)
        for i, box in enumerate(ndimage.find_objects(parts), 1):
            part = parts[box] == i
            if np.count_nonzero(part) >= self.options.smallest:
                corner = box[1].start + x0, box[0].start + y0
                yield Found.of(
                    part, corner, predicted_iou=one.predicted_iou, tile=one.tile,
                    stability_score=one.stability_score, point=one.point,
                )  # fmt: skip


def size(one: Found) -> tuple[float, ...]:
    """What masks are painted in the order of: the largest first."""
    return -one.area, *goodness(one)
