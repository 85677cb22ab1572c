"""Regular expressions from files, matched in bounded time.

Python's own may take forever on a short name. Here all ends that a match may have are followed
together, so the time is that of the expression's length times the name's, and it is counted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from ..messages import short

Ends = Callable[[str, set[int]], set[int]]  # from all places where a match may begin to its ends

MAX_STEPS = 20_000_000  # of all matches of an adapter; about 10 s
MAX_DEPTH = 30  # of nested groups
ATOM = re.compile(
    r"\\[dDwWsS]|\\[^A-Za-z0-9]|\[\^?\]?(\\.|[^\]\\])*\]|[^\\\[\](){}*+?|]", re.DOTALL
)
REPEAT = re.compile(r"([*+?]|\{(\d*)(,?)(\d*)\})\??")
QUANTIFIERS = {"*": (0, None), "+": (1, None), "?": (0, 1)}


class Patterns:
    """Values by patterns of names, as peft reads them: a name, or its end after a dot, matches.

    Raises ValueError, beginning with the source, for what is not a regular expression of
    characters, classes, groups and repeats, or takes too long.
    """

    def __init__(self, values: Mapping[str, Any], source: str):
        self.source, self.steps = source, 0
        self.ends = [(Parser(pattern, self).parsed(), value) for pattern, value in values.items()]

    def spend(self, steps: int) -> None:
        self.steps += steps
        if self.steps > MAX_STEPS:
            raise ValueError(f"{self.source} takes too long to match; give the modules' names")

    def get(self, name: str, default: Any) -> Any:
        """The value of the first pattern that matches, or the default."""
        starts = {0, *(i + 1 for i, character in enumerate(name) if character == ".")}
        return next((v for ends, v in self.ends if len(name) in ends(name, starts)), default)


class Parser:
    """Reads one expression from left to right."""

    def __init__(self, pattern: str, owner: Patterns):
        self.pattern, self.source, self.spend = pattern, owner.source, owner.spend
        self.at = self.depth = 0

    def parsed(self) -> Ends:
        ends = self.either()
        if self.at < len(self.pattern):
            raise self.error()
        return ends

    def error(self) -> ValueError:
        return ValueError(
            f"{self.source} has {short(self.pattern)}, which is not a regular expression of "
            f"characters, classes, groups and repeats (at character {self.at + 1}): name modules"
        )

    def take(self, text: str) -> bool:
        found = self.pattern.startswith(text, self.at)
        self.at += len(text) * found
        return found

    def either(self) -> Ends:
        options = [self.sequence()]
        while self.take("|"):
            options.append(self.sequence())
        return options[0] if len(options) == 1 else self.any_of(options)

    def any_of(self, options: list[Ends]) -> Ends:
        return lambda name, starts: set().union(*(option(name, starts) for option in options))

    def sequence(self) -> Ends:
        parts: list[Ends] = []
        while self.at < len(self.pattern) and self.pattern[self.at] not in "|)":
            parts.append(self.repeated(self.part()))

        def ends(name: str, starts: set[int]) -> set[int]:
            self.spend(1)
            for part in parts:
                starts = part(name, starts) if starts else starts
            return starts

        return ends

    def part(self) -> Ends:
        if self.take("("):
            self.depth += 1
            if self.depth > MAX_DEPTH or (self.take("?") and not self.take(":")):
                raise self.error()
            ends = self.either()
            self.depth -= 1
            if not self.take(")"):
                raise self.error()
            return ends
        if self.take("^"):
            return lambda name, starts: starts & {0}
        if self.take("$"):
            return lambda name, starts: starts & {len(name)}
        return self.character()

    def character(self) -> Ends:
        found = ATOM.match(self.pattern, self.at)
        if found is None:
            raise self.error()
        try:
            fits = re.compile(found[0]).fullmatch
        except re.error:
            raise self.error() from None
        self.at = found.end()
        self.spend(20)  # for the memory that it takes

        def ends(name: str, starts: set[int]) -> set[int]:
            self.spend(1 + len(starts))
            return {i + 1 for i in starts if i < len(name) and fits(name[i])}

        return ends

    def repeated(self, part: Ends) -> Ends:
        found = REPEAT.match(self.pattern, self.at)
        if found is None:
            return part
        self.at = found.end()
        low, high = QUANTIFIERS.get(found[1]) or self.counts(found)

        def ends(name: str, starts: set[int]) -> set[int]:
            rounds = len(name) + 1  # after so many, nothing new is reached
            for _ in range(min(low, rounds)):
                starts = part(name, starts)
            reached, new = set(starts), starts
            for _ in range(rounds if high is None else min(high - low, rounds)):
                new = part(name, new) - reached
                if not new:
                    break
                reached |= new
            return reached

        return ends

    def counts(self, found: re.Match[str]) -> tuple[int, int | None]:
        """The bounds of {m}, {m,}, {,n} or {m,n}."""
        low, comma, high = found[2], found[3], found[4]
        if not (low or high) or len(low + high) > 9:
            raise self.error()
        bounds = int(low or 0), int(high) if high else (None if comma else int(low))
        if bounds[1] is not None and bounds[1] < bounds[0]:
            raise self.error()
        return bounds
