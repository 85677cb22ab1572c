"""Masks of which one that repeats a better one goes, as soon as no other can change that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from .found import Found, meeting
from .layout import Rect


@dataclass
class Duplicates:
    """Masks that wait until nothing can repeat them any more; of repetitions the best stays."""

    repeats: Callable[[Found, Found], bool]
    rank: Callable[[Found], tuple[float, ...]]  # the best mask has the lowest
    waiting: list[Found] = field(default_factory=list)
    links: dict[int, list[Found]] = field(default_factory=dict)  # repetitions, by identity

    def add(self, found: Sequence[Found]) -> None:
        before = len(self.waiting)
        self.waiting += found
        for i, k in meeting(found, self.waiting):
            if k < before + i and self.repeats(found[i], self.waiting[k]):
                self.links.setdefault(id(found[i]), []).append(self.waiting[k])
                self.links.setdefault(id(self.waiting[k]), []).append(found[i])

    def finished(self, is_open: Callable[[Found], bool]) -> list[Found]:
        """The masks that stay, of those that no other can repeat, directly or through others.

        is_open: whether a mask may still be repeated. What is finished waits no longer.
        """
        finished: list[Found] = []
        gone: set[int] = set()
        for component in self._components():
            if not any(map(is_open, component)):
                finished += self._best(component)
                gone |= {id(one) for one in component}
        self.waiting = [one for one in self.waiting if id(one) not in gone]
        for one in gone:
            self.links.pop(one, None)
        return finished

    def _components(self) -> list[list[Found]]:
        """Masks that are linked as repetitions, directly or through others."""
        seen: set[int] = set()
        components = []
        for one in self.waiting:
            if id(one) in seen:
                continue
            seen.add(id(one))
            component = [one]
            for member in component:
                others = [o for o in self.links.get(id(member), ()) if id(o) not in seen]
                seen |= {id(other) for other in others}
                component += others
            components.append(component)
        return components

    def _best(self, component: list[Found]) -> list[Found]:
        """The masks of a component to keep: one that repeats a better one goes."""
        kept: dict[int, Found] = {}
        for one in sorted(component, key=self.rank):
            if not any(id(other) in kept for other in self.links.get(id(one), ())):
                kept[id(one)] = one
        return list(kept.values())


def is_below(box: Rect, next_top: int | None) -> bool:
    """Whether a box reaches into rows of tiles that are still to come."""
    return next_top is not None and box[3] > next_top


def touches(box: Rect, boxes: np.ndarray) -> bool:
    """Whether a box shares pixels with one of several (N, 4)."""
    x0, y0, x1, y1 = box
    low, high = boxes[:, :2], boxes[:, 2:]
    return bool(((low < (x1, y1)) & (high > (x0, y0))).all(axis=1).any())


def boxes_of(found: Sequence[Found]) -> np.ndarray:
    """The boxes of masks, (N, 4)."""
    return np.array([one.box for one in found]).reshape(-1, 4)
