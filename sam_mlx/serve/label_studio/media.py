"""Pictures of Label Studio's tasks: fetched from where the user said, and from nowhere else.

The server is told which Label Studio it works for. A task names its picture by a path there, by a
path of local files, or by an address: anybody who can add a task chooses it. So requests go to
Label Studio itself and to the addresses that the user has named, also after redirections.
"""

from __future__ import annotations

import base64
import json
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

from ...files import read_file
from ...messages import short
from ...web.errors import Refusal

SECONDS = 20.0  # for each part of an answer
MAX_SECONDS = 60.0  # for a whole one
CHUNK = 1 << 20
LOCAL = "/data/local-files/"
ROOT = "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT"  # Label Studio's own variable
STORAGES = ("s3", "gs", "azure-blob")
MAX_TOKEN = 1 << 16  # bytes of an answer with a token
REFRESH_SECONDS = 200.0  # Label Studio's access tokens last 5 minutes
DEFAULT = "http://localhost:8080"


def origin_of(address: str) -> str:
    """The part of an address that says which server it is. Raises ValueError if it has none."""
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{short(address)} is not an address; expected http://... or https://...")
    usual = {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{parts.hostname}:{parts.port or usual}"


@dataclass
class Media:
    """Where pictures may come from."""

    address: str = DEFAULT  # of Label Studio
    token: str | None = None  # of a user, instead of the one that Label Studio sends
    allowed: Sequence[str] = ()  # other addresses, whose servers are asked without a token
    _bearer: tuple[str, float] | None = field(default=None, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        self.address = self.address.rstrip("/")
        self.origins = {origin_of(address) for address in (self.address, *self.allowed)}

    def picture(self, place: str, task: Any, sent_token: str | None, most: int) -> bytes:
        """The bytes of a task's picture. Raises Refusal."""
        root = os.environ.get(ROOT)
        if place.startswith(LOCAL) and root:
            return local_file(Path(root), place, most)
        if place.partition("://")[0] in STORAGES and isinstance(task, int):
            # Label Studio signs its address.
            name = base64.urlsafe_b64encode(place.encode()).decode()
            place = f"/tasks/{task}/resolve/?fileuri={name}"
        address = urljoin(f"{self.address}/", place)
        return self.get(address, sent_token, most)

    def get(self, address: str, sent_token: str | None, most: int) -> bytes:
        """What is at an address; with a token if it is Label Studio's own."""
        self.check(address)
        headers = {}
        if origin_of(address) == origin_of(self.address):
            headers = self.authorization(sent_token)
        return self._ask(urllib.request.Request(address, headers=headers), most)

    def check(self, address: str) -> None:
        """Raise Refusal, 403, for an address that the user has not named."""
        try:
            known = origin_of(address) in self.origins
        except ValueError as error:
            raise Refusal(400, str(error)) from None
        if not known:
            raise Refusal(
                403, f"the picture is at {short(address)}; start the server with --allow-media and "
                "the beginning of that address, or with --label-studio, if it is Label Studio's"
            )  # fmt: skip

    def authorization(self, sent_token: str | None) -> dict[str, str]:
        token = self.token or sent_token
        if not token:
            return {}
        if token.count(".") != 2:
            return {"Authorization": f"Token {token}"}
        return {"Authorization": f"Bearer {self._access(token)}"}

    def _access(self, refresh: str) -> str:
        """A short-lived token, for one of Label Studio's personal access tokens."""
        with self._lock:
            if self._bearer is None or self._bearer[1] < time.monotonic():
                request = urllib.request.Request(
                    f"{self.address}/api/token/refresh/",
                    json.dumps({"refresh": refresh}).encode(),
                    {"Content-Type": "application/json"},
                )
                found = json.loads(self._ask(request, MAX_TOKEN))
                self._bearer = str(found["access"]), time.monotonic() + REFRESH_SECONDS
            return self._bearer[0]

    def _ask(self, request: urllib.request.Request, most: int) -> bytes:
        opener = urllib.request.build_opener(Redirections(self), *proxies(request))
        try:
            with opener.open(request, timeout=SECONDS) as answer:
                return whole(answer, most)
        except urllib.error.HTTPError as error:
            hint = "; give --label-studio-token" if error.code in (401, 403) else ""
            raise Refusal(
                502, f"{short(request.full_url)} answered {error.code} {error.reason}{hint}"
            ) from None
        except (OSError, HTTPException, ValueError) as error:
            raise Refusal(502, f"{short(request.full_url)} cannot be reached: {error}") from None


class Redirections(urllib.request.HTTPRedirectHandler):
    """Followed where requests may go; the token stays with Label Studio."""

    def __init__(self, media: Media):
        self.media = media

    def redirect_request(
        self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: str
    ) -> Any:
        self.media.check(newurl)
        new = super().redirect_request(req, fp, code, msg, headers, newurl)
        if new is not None and origin_of(newurl) != origin_of(req.full_url):
            new.remove_header("Authorization")
        return new


def proxies(request: urllib.request.Request) -> list[urllib.request.BaseHandler]:
    """None for this machine, whatever the environment says."""
    local = urlsplit(request.full_url).hostname in ("localhost", "127.0.0.1", "::1")
    return [urllib.request.ProxyHandler({})] if local else []


def whole(answer: Any, most: int) -> bytes:
    """An answer's body. Raises Refusal, 413, as soon as it is too long."""
    parts, count, end = [], 0, time.monotonic() + MAX_SECONDS
    while part := answer.read(CHUNK):
        count += len(part)
        if count > most:
            raise Refusal(413, f"the picture has more than {most} bytes")
        if time.monotonic() > end:
            raise Refusal(502, "the picture did not arrive in time")
        parts.append(part)
    return b"".join(parts)


def local_file(root: Path, place: str, most: int) -> bytes:
    """A file of Label Studio's local storage, below its root."""
    name = parse_qs(urlsplit(place).query).get("d", [""])[0]
    try:
        path = (root / name.lstrip("/")).resolve()
        if not path.is_relative_to(root.resolve()):
            raise Refusal(403, f"{short(name)} is not below {ROOT}")
        return read_file(path, most)
    except (OSError, ValueError) as error:
        raise Refusal(404, f"{short(name)} cannot be read: {error}") from None
