"""What tiles of one scale found, without seams: row after row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from .found import Found, common, iou, iou_within, meeting, union
from .layout import Rect

AGREE = 0.6  # IoU, on the strip that two tiles share, from which pieces are of one object
SAME = 0.7  # IoU within a tile from which a mask explains a piece

Ask = Callable[[list[Found]], list[Found]]  # pieces of one object: whole masks of it


@dataclass(eq=False)
class Group:
    """Pieces of one object."""

    members: list[Found]
    is_large: bool = False  # too large for this scale, whatever of it is still known

    @property
    def box(self) -> Rect:
        return union([one.box for one in self.members])

    @property
    def tiles(self) -> set[Rect]:
        return {one.tile for one in self.members}


@dataclass
class Rows:
    """Masks of tiles, added a row at a time; each row gives back the masks that are finished.

    Whole masks wait until no later row can find them again; of duplicates the best stays. Pieces,
    which a tile's edge has cut, wait until no later row can add to them. Then those that a whole
    mask explains are dropped, and the others are asked about.
    """

    ask: Ask
    max_extent: int  # of an object, in pixels; larger ones belong to a coarser search
    duplicate: float  # IoU above which one mask repeats another
    min_extent: int = 1  # smaller ones belong to a finer search
    whole: list[Found] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    links: dict[int, list[Found]] = field(default_factory=dict)  # duplicates, by identity
    unresolved: int = 0  # groups of which no whole mask was found

    def add(self, found: Sequence[Found], next_top: int | None) -> list[Found]:
        """The finished masks after a row of tiles; next_top: where the next row begins, if any."""
        self._add_whole([one for one in found if not one.is_cut])
        self._add_pieces([one for one in found if one.is_cut])
        self._settle(next_top)
        return self._finished(next_top)

    def busy(self) -> np.ndarray:
        """Boxes (N, 4) of what is not finished, but for what is too large for this scale."""
        boxes = [group.box for group in self.groups if not group.is_large]
        return np.array([*boxes, *(one.box for one in self.whole)]).reshape(-1, 4)

    def _add_whole(self, found: list[Found]) -> None:
        before = len(self.whole)
        found = [one for one in found if one.extent >= self.min_extent]
        self.whole += found
        for i, k in meeting(found, self.whole):
            if k < before + i and iou(found[i], self.whole[k]) > self.duplicate:
                self.links.setdefault(id(found[i]), []).append(self.whole[k])
                self.links.setdefault(id(self.whole[k]), []).append(found[i])

    def _add_pieces(self, found: list[Found]) -> None:
        before = [one for group in self.groups for one in group.members]
        self.groups += [Group([piece]) for piece in found]
        group_of = {id(one): group for group in self.groups for one in group.members}
        pieces = [*before, *found]
        pairs = []
        for i, k in meeting(found, pieces):
            if k < len(before) + i and (shared := agreement(found[i], pieces[k])) >= AGREE:
                x0, y0, x1, y1 = union([found[i].box, pieces[k].box])
                pairs.append((-round(shared, 1), max(x1 - x0, y1 - y0), k, i))
        for _, _, k, i in sorted(pairs):  # the best first, of equals the smallest
            self._join(group_of, pieces[k], found[i])

    def _join(self, group_of: dict[int, Group], a: Found, b: Found) -> None:
        """Join the groups of two pieces, unless one tile has pieces in both: those are different
        objects, such as an object and a part of it, that look alike on the strip.
        """
        first, second = group_of[id(a)], group_of[id(b)]
        if first.tiles & second.tiles:
            return
        first.members += second.members
        first.is_large |= second.is_large
        group_of |= {id(one): first for one in second.members}
        self.groups.remove(second)

    def _settle(self, next_top: int | None) -> None:
        """Turn the groups to which no later row can add into whole masks."""
        waiting = []
        for group in self.groups:
            x0, y0, x1, y1 = group.box
            group.is_large |= max(x1 - x0, y1 - y0) > self.max_extent
            if group.is_large:
                group.members = [one for one in group.members if is_below(one.box, next_top)]
                waiting += [group] * bool(group.members)
            elif is_below(group.box, next_top):
                waiting.append(group)
            elif max(x1 - x0, y1 - y0) >= self.min_extent:
                self._resolve(group.members)
        self.groups = waiting

    def _resolve(self, members: list[Found]) -> None:
        explained = {
            i for i, k in meeting(members, self.whole)
            if iou_within(members[i], self.whole[k], members[i].tile) >= SAME
        }  # fmt: skip
        left = [one for i, one in enumerate(members) if i not in explained]
        if left:
            answers = self.ask(left)
            self.unresolved += not answers
            self._add_whole(answers)

    def _finished(self, next_top: int | None) -> list[Found]:
        """Whole masks that nothing can change, without duplicates, from above to below."""
        boxes = [group.box for group in self.groups if not group.is_large]
        waiting = np.array(boxes).reshape(-1, 4)
        finished: list[Found] = []
        gone: set[int] = set()
        for component in self._components():
            if not any(is_below(o.box, next_top) or touches(o.box, waiting) for o in component):
                finished += self._best(component)
                gone |= {id(one) for one in component}
        self.whole = [one for one in self.whole if id(one) not in gone]
        for one in gone:
            self.links.pop(one, None)
        return sorted(finished, key=lambda one: (one.y, one.x, one.rank))

    def _components(self) -> list[list[Found]]:
        """Masks that are linked as duplicates, directly or through others."""
        seen: set[int] = set()
        components = []
        for one in self.whole:
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
        for one in sorted(component, key=lambda one: one.rank):
            if not any(id(other) in kept for other in self.links.get(id(one), ())):
                kept[id(one)] = one
        return list(kept.values())


def agreement(a: Found, b: Found) -> float:
    """How far two pieces of different tiles are one object on the strip that the tiles share."""
    strip = common(a.tile, b.tile)
    return 0.0 if a.tile == b.tile or strip is None else iou_within(a, b, strip)


def is_below(box: Rect, next_top: int | None) -> bool:
    """Whether a box reaches into rows of tiles that are still to come."""
    return next_top is not None and box[3] > next_top


def touches(box: Rect, boxes: np.ndarray) -> bool:
    """Whether a box shares pixels with one of several (N, 4)."""
    x0, y0, x1, y1 = box
    low, high = boxes[:, :2], boxes[:, 2:]
    return bool(((low < (x1, y1)) & (high > (x0, y0))).all(axis=1).any())
