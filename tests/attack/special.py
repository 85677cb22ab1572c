"""What lies about on disks beside sound files, as names that lead to no file of reasonable size."""

from __future__ import annotations

import os
import random
import socket
from pathlib import Path

SPARSE = 1 << 40  # bytes that take no room on disk


def pipe(path: Path) -> None:
    os.mkfifo(path)


def sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, SPARSE)


def bound(path: Path) -> None:
    before = os.getcwd()
    os.chdir(path.parent)  # a socket's path has at most 103 bytes
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name)
    os.chdir(before)


def to_pipe(path: Path) -> None:
    pipe(path.parent / f".{path.name}.pipe")
    path.symlink_to(f".{path.name}.pipe")


# Each makes something of that path, which every reader refuses.
KINDS = {
    "a pipe": pipe,
    "a sparse file": sparse,
    "a socket": bound,
    "a link to a pipe": to_pipe,
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "a link to nowhere": lambda path: path.symlink_to("nowhere"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to a folder": lambda path: path.symlink_to("."),
    "a folder": lambda path: path.mkdir(),
}
FOLDERS = {"a link to a folder", "a folder"}

STEERING = [
    "\x1b[31mred",
    "\x1b]0;title\x07",
    "two\nlines",
    "\u202egnp",
    "\udcff\udcfe",
    "\u0085",
    "%s{0}",
]


def name(chance: random.Random, ending: str = "") -> str:
    """A name with characters that control terminals, that are no text, or that formats take."""
    return "".join(chance.sample(STEERING, chance.randint(1, 3))) + ending
