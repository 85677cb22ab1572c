"""An object of a picture, declared once.

The fields of ``MaskObject`` say what clients may set, what answers show, what session files hold
and what exports take; the schemas of all these derive from them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, cast

from ..files import to_json
from ..masks import Record, record_of, rle_area, rle_counts, rle_size
from ..prompts import check_box, is_ambiguous
from .errors import Refusal
from .strokes import with_strokes
from .validate import FLAG, INTEGER, NAME, NUMBER, TEXT, Schema, form, many, or_null, ref

MAX_POINTS = 256  # of a prompt
MAX_EDITS = 1000  # of an object
MAX_CORNERS = 5000  # of a stroke
MAX_RADIUS = 10_000  # pixels, of a brush
MAX_COORDINATE = 1e6  # pixels, in both directions
MAX_SIDE = 1 << 24  # pixels, of a saved mask
MAX_ORDER = 1e9
MAX_SCALE = 1 << 16  # of a large picture

Rle = dict[str, Any]
Size = tuple[int, int]  # height, width

COORDINATE = {"type": "number", "minimum": -MAX_COORDINATE, "maximum": MAX_COORDINATE}
POINT = many(COORDINATE, 2, 2)  # x, y
POINTS = many(POINT, MAX_POINTS)
LABELS = many({"type": "integer", "enum": [0, 1]}, MAX_POINTS)
BOX = or_null(many(COORDINATE, 4, 4))  # x0, y0, x1, y1
MULTIMASK = or_null(FLAG)
CHOICE = or_null({"type": "integer", "minimum": 0, "maximum": 2})
SCALE = {"type": "integer", "minimum": 1, "maximum": MAX_SCALE}
PIXELS = {"type": "number", "minimum": 0, "maximum": 1e9}
COLOUR = {"type": "string", "pattern": "^#[0-9a-fA-F]{6}$", "description": "#rrggbb"}
EDIT = form(
    "erase radius path",
    erase=FLAG,
    radius={"type": "number", "minimum": 0, "maximum": MAX_RADIUS},
    path=many(POINT, MAX_CORNERS, 1),
)
EDITS = many(EDIT, MAX_EDITS)
ID = {"type": "string", "maxLength": 40}
CATEGORY_ID = {"type": "integer", "minimum": 1, "maximum": 2**31}
ORDER = {"type": "number", "minimum": -MAX_ORDER, "maximum": MAX_ORDER}
KEY = {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,40}$",
       "description": "up to 40 letters, digits, - and _"}  # fmt: skip
COMPRESSED = form(
    "size counts", size=many({"type": "integer", "minimum": 1, "maximum": MAX_SIDE}, 2), counts=TEXT
)
SIZE = many({"type": "integer", "minimum": 1, "maximum": MAX_SIDE}, 2, 2)  # height, width
NUMBERS = many(NUMBER)
SAVED_RECORD = form(
    "segmentation area bbox predicted_iou point_coords stability_score crop_box",
    segmentation=COMPRESSED, area=INTEGER, bbox=NUMBERS, predicted_iou=NUMBER,
    point_coords=many(NUMBERS), stability_score=NUMBER, crop_box=NUMBERS,
)  # fmt: skip


def told(schema: Schema, prompt: bool = False, exported: bool = False) -> dict[str, Any]:
    """For a field that clients set: its schema in requests, answers and session files.

    prompt: the mask before the edits depends on it. exported: records for formats have it.
    """
    schemas = {"told": schema, "shown": schema, "saved": schema}
    return schemas | {"prompt": prompt, "exported": exported}


def made(shown: Schema | None = None, saved: Schema | None = None) -> dict[str, Any]:
    """For a field that the server makes: its schema in answers, and in session files, if any."""
    return {"told": None, "shown": shown, "saved": saved, "prompt": False, "exported": False}


@dataclass
class MaskObject:
    """An object of a picture: its prompts, edits and mask."""

    id: str = field(metadata=made(shown=KEY, saved=KEY))
    name: str = field(metadata=told(NAME, exported=True))
    colour: str = field(metadata=told(COLOUR, exported=True))
    hidden: bool = field(default=False, metadata=told(FLAG))
    # The id of one of the session's classes.
    category: int | None = field(default=None, metadata=told(or_null(CATEGORY_ID)))
    # Its place among the picture's objects, from the back to the front.
    order: float = field(default=0.0, metadata=told(ORDER))
    points: list[list[float]] = field(default_factory=list, metadata=told(POINTS, prompt=True))
    labels: list[int] = field(default_factory=list, metadata=told(LABELS, prompt=True))
    box: list[float] | None = field(default=None, metadata=told(BOX, prompt=True))
    # Whether the model is asked for three masks; None: if the prompt is ambiguous.
    multimask: bool | None = field(default=None, metadata=told(MULTIMASK, prompt=True))
    # A mask given as a prompt, from a file or another object; the mask where nothing is asked.
    start: Rle | None = field(default=None, metadata=told(or_null(COMPRESSED), prompt=True))
    # Which of three masks; None: the one with the highest score.
    choice: int | None = field(default=None, metadata=told(CHOICE, prompt=True))
    # At which scale a page looked at a large picture: the model is asked, and strokes are painted,
    # there. 1 for others.
    scale: int = field(default=1, metadata=told(SCALE, prompt=True))
    edits: list[dict[str, Any]] = field(default_factory=list, metadata=told(EDITS))
    # The id of the automatic mask it was taken from.
    automatic: str | None = field(default=None, metadata=told(or_null(ID), prompt=True))
    min_mask_region_area: float = field(default=0, metadata=told(PIXELS, prompt=True))
    # Masks are compressed RLE. The base is the mask before the edits; None: empty.
    base: Rle | None = field(default=None, metadata=made(saved=or_null(COMPRESSED)))
    mask: Rle = field(default_factory=dict, metadata=made(shown=ref("Rle"), saved=COMPRESSED))
    # Pixels of the picture along a pixel of the mask: a power of 2.
    mask_scale: int = field(default=1, metadata=made(shown=SCALE, saved=SCALE))
    score: float = field(default=0.0, metadata=made(shown=NUMBER, saved=NUMBER))
    stability: float = field(default=0.0, metadata=made(shown=NUMBER, saved=NUMBER))
    painted: int = field(default=0, metadata=made())  # how many of the edits are in the mask
    # The session's revision in which it was last changed.
    version: int = field(default=0, metadata=made(shown=INTEGER, saved=INTEGER))

    @property
    def prompt(self) -> dict[str, Any]:
        """What the model is asked, as ``prompt_of`` has it; empty if it is asked nothing."""
        return prompt_of(self.points, self.labels, self.box, self.start)

    @property
    def asks_for_three(self) -> bool:
        return asks_for_three(self.prompt, self.multimask)

    @property
    def area(self) -> int:
        return rle_area(self.mask)

    def set_base(self, record: Record | None, size: Size) -> None:
        """The mask of a record, with the edits applied. size: of the picture at ``mask_scale``."""
        self.base = record and record["segmentation"]
        self.score = record["predicted_iou"] if record else 0.0
        self.stability = record["stability_score"] if record else 0.0
        self.painted = 0
        self.paint(size)

    def paint(self, size: Size) -> None:
        """Bring the mask up to date: the newest strokes go on top of the existing mask."""
        start = self.mask if self.painted else self.base
        new = self.edits[self.painted :]
        self.painted = len(self.edits)
        self.mask = with_strokes(start, new, size, self.mask_scale)

    def show(self) -> dict[str, Any]:
        """As answers have it."""
        return self._values("shown") | {"mask": plain(self.mask), "area": self.area}

    def save(self) -> dict[str, Any]:
        """As session files have it."""
        return self._values("saved")

    @cached_property
    def text(self) -> str:
        """The JSON of ``save``, made once: a changed object is another one."""
        return to_json(self.save())

    def record(self) -> Record:
        """As the output formats take it."""
        record = record_of(self.mask, self.score, self.stability, self.points or None)
        return cast(Record, {**record, **self._values("exported")})

    def _values(self, where: str) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self) if f.metadata[where]}


def schemas(where: str) -> dict[str, Schema]:
    """The fields that are ``told``, ``shown`` or ``saved``, with their schemas."""
    return {f.name: f.metadata[where] for f in fields(MaskObject) if f.metadata[where]}


PROMPT = [f.name for f in fields(MaskObject) if f.metadata["prompt"]]
TOLD = form("", **schemas("told"))
SHOWN = form(" ".join([*schemas("shown"), "area"]), **schemas("shown"), area=INTEGER)


def prompt_of(
    points: list[list[float]] | None,
    labels: list[int] | None,
    box: list[float] | None,
    start: Rle | None = None,
) -> dict[str, Any]:
    """The arguments of ``SamPredictor.predict``, with the given mask, compressed, in place of a
    ``mask_input``. A mask alone asks nothing. Raises Refusal, 400, if they are invalid.
    """
    points, labels = points or [], labels or []
    if len(points) != len(labels):
        raise Refusal(
            400, f"{len(points)} points have {len(labels)} labels; expected one label a point"
        )
    prompt: dict[str, Any] = {"point_coords": points, "point_labels": labels} if points else {}
    if box is not None:
        try:
            check_box(box)
        except ValueError as error:
            raise Refusal(400, str(error)) from None
        prompt["box"] = box
    return prompt | ({"start": start} if prompt and start else {})


def check_start(start: Rle | None, size: Size) -> None:
    """Raise Refusal, 400, for a given mask that is malformed, or has another size than ``size``."""
    try:
        found = size if start is None else rle_size(start)
        if start is not None:
            rle_counts(start)
    except ValueError as error:
        raise Refusal(400, f"start: {error}") from None
    if found != size:
        raise Refusal(400, f"start has size {list(found)}; expected the picture's, {list(size)}")


def asks_for_three(prompt: dict[str, Any], multimask: bool | None) -> bool:
    """Whether the model is asked for three masks of a prompt; None leaves it to the prompt."""
    if multimask is not None:
        return multimask
    return "start" not in prompt and is_ambiguous(**prompt)


def plain(rle: Rle) -> Rle:
    """COCO's uncompressed RLE, which a page reads."""
    return {"size": list(rle["size"]), "counts": rle_counts(rle)}
