"""What tiles of one scale found, without seams: row after row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from .duplicates import Duplicates, boxes_of, is_below, touches
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
    whole: Duplicates = field(init=False)
    groups: list[Group] = field(default_factory=list)
    unresolved: int = 0  # groups of which no whole mask was found

    def __post_init__(self) -> None:
        self.whole = Duplicates(lambda a, b: iou(a, b) > self.duplicate, lambda one: one.rank)

    def add(self, found: Sequence[Found], next_top: int | None) -> list[Found]:
        """The finished masks after a row of tiles; next_top: where the next row begins, if any."""
        self._add_whole([one for one in found if not one.is_cut])
        self._add_pieces([one for one in found if one.is_cut])
        self._settle(next_top)
        return self._finished(next_top)

    def busy(self) -> np.ndarray:
        """Boxes (N, 4) of what is not finished, but for what is too large for this scale."""
        return np.concatenate([self._waiting(), boxes_of(self.whole.waiting)])

    def _waiting(self) -> np.ndarray:
        """Boxes (N, 4) of pieces that wait for others."""
        return np.array([g.box for g in self.groups if not g.is_large]).reshape(-1, 4)

    def _add_whole(self, found: list[Found]) -> None:
        self.whole.add([one for one in found if one.extent >= self.min_extent])

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
        whole = self.whole.waiting
        explained = {
            i for i, k in meeting(members, whole)
            if iou_within(members[i], whole[k], members[i].tile) >= SAME
        }  # fmt: skip
        left = [one for i, one in enumerate(members) if i not in explained]
        if left:
            answers = self.ask(left)
            self.unresolved += not answers
            self._add_whole(answers)

    def _finished(self, next_top: int | None) -> list[Found]:
        """Whole masks that nothing can change, without duplicates, from above to below."""
        waiting = self._waiting()
        finished = self.whole.finished(
            lambda one: is_below(one.box, next_top) or touches(one.box, waiting)
        )
        return sorted(finished, key=lambda one: (one.y, one.x, one.rank))


def agreement(a: Found, b: Found) -> float:
    """How far two pieces of different tiles are one object on the strip that the tiles share."""
    strip = common(a.tile, b.tile)
    return 0.0 if a.tile == b.tile or strip is None else iou_within(a, b, strip)
