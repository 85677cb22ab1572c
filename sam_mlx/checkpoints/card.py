"""A model card: the ``README.md`` that the Hugging Face hub shows and takes tags from."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from ..config import SamConfig

HOME = "https://github.com/sam-mlx/sam-mlx"
NAME = r"[\w-][\w.-]*"  # of an owner or a repository; plain text in YAML and Markdown


@dataclass(frozen=True)
class Origin:
    """The source of weights, for the card. Raises ValueError for malformed names."""

    base_model: str | None = None  # the hub repository that they were made from
    license: str | None = None  # its identifier on the hub; None gives "unknown"

    def __post_init__(self) -> None:
        if self.base_model is not None and not re.fullmatch(f"{NAME}/{NAME}", self.base_model):
            raise ValueError(
                f"base_model is {self.base_model!r}; expected a hub repository, owner/name, such "
                "as 'facebook/sam-vit-base'"
            )
        if self.license is not None and not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", self.license):
            raise ValueError(
                f"license is {self.license!r}; expected an identifier of the hub, such as "
                "'apache-2.0', 'mit', 'cc-by-nc-4.0' or 'other'"
            )


def card(name: str, config: SamConfig, weights: str, origin: Origin, parity: str = "") -> str:
    """The card's text. name: what ``from_pretrained`` takes; weights: their type, in words;
    parity: a table in Markdown, with a heading sentence.
    """
    front = ["library_name: mlx", "pipeline_tag: mask-generation"]
    front += [f"license: {origin.license or 'unknown'}"]
    front += [f"base_model: {origin.base_model}"] if origin.base_model else []
    front += ["tags:", "- mlx", "- sam_mlx", "- segment-anything"]
    of = f", made from [{origin.base_model}](https://huggingface.co/{origin.base_model})"
    use = ["from sam_mlx import SamPredictor"]
    use += [f"predictor = SamPredictor.from_pretrained({json.dumps(name)})"]
    return "\n".join([
        "---", *front, "---", "",
        f"# {' '.join(name.split())}", "",
        f"Segment Anything ({config.variant}, {weights}) for MLX, in the format of "
        f"[sam_mlx]({HOME}){of if origin.base_model else ''}.", "",
        "```python", *use, "```",
        *(["", "## Parity", "", parity] if parity else []), "",
    ])  # fmt: skip
