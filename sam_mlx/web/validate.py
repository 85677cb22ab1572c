"""JSON from outside: parsed within bounds, and checked against the schemas that the API documents.

Schemas are OpenAPI's, as dictionaries; the functions at the top write them.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

import numpy as np

from .errors import Refusal

Schema = dict[str, Any]

NUMBER: Schema = {"type": "number"}
INTEGER: Schema = {"type": "integer"}
TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
PATH: Schema = {"type": "string", "maxLength": 4000}
NAME: Schema = {"type": "string", "maxLength": 200}
SHARE: Schema = {"type": "number", "minimum": 0, "maximum": 1}

MAX_VALUES = 1_000_000  # of JSON
MAX_DEPTH = 32
SMALL = 64 << 10  # bytes of JSON that need no check before they are parsed
CHUNK = 1 << 20  # bytes
OPENING, CLOSING = np.frombuffer(b"[{", np.uint8), np.frombuffer(b"]}", np.uint8)

LONE = re.compile("[\ud800-\udfff]")  # a half of a character, which no file can hold

TYPES: dict[str, Any] = {
    "object": dict, "array": list, "string": str, "boolean": bool, "number": (int, float),
    "integer": int,
}  # fmt: skip


def form(required: str = "", **properties: Schema) -> Schema:
    """The schema of an object, with the names of properties that it must have."""
    schema: Schema = {"type": "object", "properties": properties}
    return schema | ({"required": required.split()} if required else {})


def open_form(required: str = "", **properties: Schema) -> Schema:
    """``form`` for objects that may hold more, as those of clients that are not ours."""
    return form(required, **properties) | {"additionalProperties": True}


def many(items: Schema, max_items: int | None = None, min_items: int = 0) -> Schema:
    schema: Schema = {"type": "array", "items": items}
    schema |= {"minItems": min_items} if min_items else {}
    return schema | ({"maxItems": max_items} if max_items else {})


def or_null(schema: Schema) -> Schema:
    return schema | {"nullable": True}


def ref(name: str) -> Schema:
    """One of the document's named schemas."""
    return {"$ref": f"#/components/schemas/{name}"}


def parse(text: bytes, name: str = "the request's body", max_values: int = MAX_VALUES) -> Any:
    """JSON without NaN and infinities, of a bounded number of values and depth.

    Raises Refusal: 400, or 413 for too many values, before any of them is built.
    """
    if len(text) > SMALL:
        check_shape(text, name, max_values)
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise Refusal(400, f"{name} is not JSON") from None


def check_shape(text: bytes, name: str, max_values: int) -> None:
    """Raise Refusal for JSON that would take much more memory than its text."""
    if text.count(b",") > max_values:  # which are between values, except in names and the like
        raise Refusal(413, f"{name} has more than {max_values:,} values")
    bare = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    depth = quotes = 0
    for start in range(0, len(bare), CHUNK):
        part = np.frombuffer(bare, np.uint8)[start : start + CHUNK]
        quote = quotes + np.cumsum(part == ord('"'))
        step = np.isin(part, OPENING).astype(np.int8) - np.isin(part, CLOSING)
        step[quote % 2 == 1] = 0  # within a string
        levels = depth + np.cumsum(step, dtype=np.int64)
        if levels.max() > MAX_DEPTH:
            raise Refusal(400, f"{name} is nested more than {MAX_DEPTH} deep")
        depth, quotes = int(levels[-1]), int(quote[-1])


def _refuse(name: str) -> None:
    raise ValueError(name)


def check(value: Any, schema: Schema, name: str = "the body") -> None:
    """Raise Refusal, 400, for a value that breaks the schema."""
    if value is None and schema.get("nullable"):
        return
    kind = schema["type"]
    if not isinstance(value, TYPES[kind]) or (isinstance(value, bool) and kind != "boolean"):
        raise wrong(value, name, f"expected {kind}")
    if "enum" in schema and value not in schema["enum"]:
        raise wrong(value, name, f"expected one of {', '.join(map(str, schema['enum']))}")
    if kind in ("number", "integer"):
        check_number(value, schema, name)
    elif kind == "string":
        check_text(value, schema, name)
    elif kind == "array":
        check_length(value, schema, name, "Items", "entries")
        for i, entry in enumerate(value):
            check(entry, schema["items"], f"{name}[{i}]")
    elif kind == "object":
        check_object(value, schema, name)


def check_number(value: float, schema: Schema, name: str) -> None:
    low, high = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
    if not (low <= value <= high) or not -1e300 < value < 1e300:
        raise wrong(value, name, f"expected {low} to {high}")


def check_text(value: str, schema: Schema, name: str) -> None:
    if not value.isascii() and LONE.search(value):
        raise wrong(value, name, "expected text, without halves of characters")
    check_length(value, schema, name, "Length", "characters")
    if "pattern" in schema and not re.fullmatch(schema["pattern"], value):
        raise wrong(value, name, f"expected {schema['description']}")


def check_length(value: Any, schema: Schema, name: str, what: str, unit: str) -> None:
    low, high = schema.get(f"min{what}", 0), schema.get(f"max{what}", math.inf)
    if not low <= len(value) <= high:
        raise Refusal(400, f"{name} has {len(value)} {unit}; expected {low} to {high}")


def check_object(value: dict[str, Any], schema: Schema, name: str) -> None:
    if (known := schema.get("properties")) is None:
        return
    for key, entry in value.items():
        if key not in known:
            if schema.get("additionalProperties"):
                continue
            raise Refusal(400, f"{name} has {short(key)}; expected {', '.join(known)}")
        check(entry, known[key], key if name == "the body" else f"{name}.{key}")
    if missing := [key for key in schema.get("required", ()) if key not in value]:
        raise Refusal(400, f"{name} lacks {', '.join(missing)}")


def wrong(value: Any, name: str, rule: str) -> Refusal:
    return Refusal(400, f"{name} is {short(value)}; {rule}")


def short(value: Any) -> str:
    """A client's value, for a sentence."""
    try:
        text = json.dumps(value, ensure_ascii=True)
    except ValueError:  # a number with thousands of digits
        text = "a number of too many digits"
    return text if len(text) <= 60 else f"{text[:57]}..."
