"""README for the package index, where relative links would lead nowhere."""

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

PICTURE = re.compile(r'(!\[[^\]]*\]\(|(?:src|srcset)=")(?!https?:)([^)"]+)')
LINK = re.compile(r"((?<!!)\[[^\]]*\]\()(?!https?:|#)([^)]+)")


def absolute(text: str, pictures: str, files: str) -> str:
    """Markdown whose relative pictures and links begin with these addresses."""
    text = PICTURE.sub(rf"\g<1>{pictures}\g<2>", text)
    return LINK.sub(rf"\g<1>{files}\g<2>", text)


class Readme(MetadataHookInterface):
    def update(self, metadata: dict[str, Any]) -> None:
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        text = absolute(text, self.config["pictures"], self.config["files"])
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
