"""Pictures that clients have sent: files by their content's hash, the least recently used go first.

The hash is of the file, so a picture that comes again, as some tools send it with every click, is
known before it is decoded.
"""

from __future__ import annotations

import base64
import binascii
from pathlib import Path

from ..machine.cache import Cache
from ..web.errors import Refusal
from ..web.store import MAX_BYTES, MAX_PIXELS, Content, Store, key_of

MAX_KEPT_BYTES = 1 << 30  # of files
# What stands before the data of a data URL, in the characters that hold it.
MAX_HEAD = 200


class Pictures:
    """The pictures of all clients. Its methods may be called from any thread."""

    def __init__(self, max_pixels: int = MAX_PIXELS, max_bytes: int = MAX_BYTES):
        self.store = Store(max_pixels, max_bytes)
        self.kept: Cache[Content] = Cache(MAX_KEPT_BYTES)

    def of_file(self, data: bytes) -> Content:
        """A picture from the bytes of its file. Raises Refusal for anything else."""
        if len(data) > self.store.max_bytes:
            raise Refusal(413, f"the picture has more than {self.store.max_bytes} bytes")
        known = self.kept.get(key_of(data, None))
        return known or self._keep(self.store.of_bytes(data, None))

    def of_path(self, path: Path) -> Content:
        """A picture from an uploaded file in the store's folder."""
        return self._keep(self.store.of_upload(path, None))

    def of_text(self, text: str) -> Content:
        """A picture from base64, or a data URL of it."""
        head, comma, _ = text[:MAX_HEAD].partition(",")
        if comma and not head.rstrip().endswith(";base64"):
            raise Refusal(400, "the picture's data URL is not base64")
        start = len(head) + 1 if comma else 0
        if (len(text) - start) * 3 // 4 > self.store.max_bytes + 2:
            raise Refusal(413, f"the picture has more than {self.store.max_bytes} bytes")
        try:
            data = base64.b64decode(text[start:].encode("ascii"))
        except (UnicodeEncodeError, binascii.Error):
            raise Refusal(400, "the picture is not base64") from None
        if not data:
            raise Refusal(400, "the picture is empty; expected a file's bytes in base64")
        return self.of_file(data)

    def known(self, key: str) -> Content:
        """A picture that was sent before. Raises Refusal, 404, if it is not kept any more."""
        found = self.kept.get(key)
        if found is None:
            raise Refusal(404, "there is no picture of that hash: send it first")
        return found

    def _keep(self, content: Content) -> Content:
        self.kept.put(content.key, content, content.room)
        return content

    def close(self) -> None:
        self.store.close()
