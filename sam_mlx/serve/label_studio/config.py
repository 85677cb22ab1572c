"""A project's labelling configuration: which picture is labelled, and in which form."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass

from ...web.errors import Refusal

MAX_CHARACTERS = 1 << 20
# The forms of masks, the exact ones first.
FORMS = {"BrushLabels": "brushlabels", "BitmaskLabels": "bitmasklabels",
         "PolygonLabels": "polygonlabels"}  # fmt: skip


@dataclass(frozen=True)
class Control:
    """A tag that regions belong to."""

    name: str
    kind: str  # of its regions
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Config:
    """What of a configuration matters here."""

    image: str  # the name of the Image tag
    key: str  # of the picture among a task's data
    controls: tuple[Control, ...]  # those that take masks

    def control_for(self, label: str | None) -> tuple[Control, str]:
        """The control that takes a mask, and its label: one that has the label, or else the first
        with its first.
        """
        for control in self.controls:
            if label in control.labels:
                return control, str(label)
        first = self.controls[0]
        return first, (first.labels or (label or "object",))[0]


def read(text: str) -> Config:
    """Raises Refusal, 400, for a configuration without a picture, or without a form for masks."""
    if len(text) > MAX_CHARACTERS or "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise Refusal(400, "the labelling configuration is not one of Label Studio's")
    try:
        root = ET.fromstring(text)
    except ET.ParseError as error:
        raise Refusal(400, f"the labelling configuration is not XML: {error}") from None
    image = next((tag for tag in root.iter("Image") if tag.get("name")), None)
    key = (image.get("value") or "") if image is not None else ""
    if image is None or not key.startswith("$"):
        raise Refusal(400, 'the labelling configuration has no <Image name="..." value="$...">')
    name = image.attrib["name"]
    controls = [
        Control(tag.get("name") or "", kind, labels_of(tag))
        for form, kind in FORMS.items()
        for tag in root.iter(form)
        if name in (tag.get("toName") or "").split(",")
    ]
    if not controls:
        raise Refusal(
            400, f'the labelling configuration has nothing that masks of "{name}" can be: add '
            f"<BrushLabels>, or one of {', '.join(list(FORMS)[1:])}"
        )  # fmt: skip
    return Config(name, key[1:], tuple(controls))


def labels_of(tag: ET.Element) -> tuple[str, ...]:
    return tuple(label.get("value") or "" for label in tag.iter("Label"))
