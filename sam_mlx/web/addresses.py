"""Where the page is found: addresses that work, the token in them, and a code for phones."""

from __future__ import annotations

import os
import re
import secrets
import socket
import stat
import time
from contextlib import suppress
from pathlib import Path

from .guard import ANY_ADDRESS, is_address, is_loopback

TOKEN_SECONDS = 7 * 24 * 3600.0  # after its last use
TOKEN = re.compile(r"[A-Za-z0-9_-]{32}")


def token_in(folder: Path | None) -> str:
    """The token of a user's servers, by which open pages go on after a restart.

    It is in a file that only the user can read, and another one a week after its last use.
    """
    path = folder and folder / "token"
    with suppress(OSError):
        if path is not None and is_private(path) and age(path) < TOKEN_SECONDS:
            token = path.read_text().strip()
            if TOKEN.fullmatch(token):
                os.utime(path)
                return token
    token = secrets.token_urlsafe(24)
    with suppress(OSError):  # then it is only in memory
        if path is not None:
            path.parent.mkdir(0o700, parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            with open(os.open(path, flags, 0o600), "w") as file:
                file.write(token)
    return token


def is_private(path: Path) -> bool:
    found = path.lstat()
    mine = found.st_uid == os.getuid() and not stat.S_IMODE(found.st_mode) & 0o077
    return stat.S_ISREG(found.st_mode) and mine


def age(path: Path) -> float:
    return time.time() - path.lstat().st_mtime


def addresses_of(host: str, port: int, token: str | None) -> list[str]:
    """The page's addresses; the first is one for this machine."""
    names = ["127.0.0.1", *own_addresses()] if host in ANY_ADDRESS else [host]
    query = f"?token={token}" if token else ""
    return [f"http://{in_url(name)}:{port}/{query}" for name in names]


def in_url(name: str) -> str:
    return f"[{name}]" if ":" in name else name


def own_addresses() -> list[str]:
    """This machine's addresses on networks, and the name by which a Mac is found on them."""
    found = dict.fromkeys(routed(family, to) for family, to in (
        (socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"),
    ))  # fmt: skip
    name = socket.gethostname()
    with suppress(OSError):
        found |= dict.fromkeys(str(i[4][0]) for i in socket.getaddrinfo(name, None))
    usual = [a for a in found if a is not None and is_address(a) and not is_loopback(a)]
    local = [name.lower()] if name.lower().endswith(".local") else []
    return [a for a in usual if not a.startswith("fe80")] + local


def routed(family: socket.AddressFamily, to: str) -> str | None:
    """The address from which this machine would send to another; nothing is sent."""
    with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as found:
        found.connect((to, 9))
        return str(found.getsockname()[0])
    return None


def code_of(address: str) -> str | None:
    """A QR code for terminals, two rows in a line; None without the package segno."""
    try:
        import segno
    except ImportError:
        return None
    rows = [list(row) for row in segno.make(address, error="l", micro=False).matrix_iter(border=2)]
    if len(rows) % 2:
        rows.append([0] * len(rows[0]))
    # Light modules are drawn, so that the code is dark on light in a dark terminal.
    blocks = {(0, 0): "█", (0, 1): "▀", (1, 0): "▄", (1, 1): " "}
    pairs = zip(rows[::2], rows[1::2])
    return "\n".join("".join(blocks[a and 1, b and 1] for a, b in zip(*pair)) for pair in pairs)
