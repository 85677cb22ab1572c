"""JSON from outside: parsed within bounds, and checked against the forms that the API documents."""

from __future__ import annotations

import json
import math
from typing import Any

from .errors import Refusal

Schema = dict[str, Any]
TYPES: dict[str, Any] = {
    "object": dict, "array": list, "string": str, "boolean": bool, "number": (int, float),
    "integer": int,
}  # fmt: skip


def parse(text: bytes) -> Any:
    """JSON without NaN, infinities and depths that no parser takes."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise Refusal(400, "the request's body is no JSON") from None


def _refuse(name: str) -> None:
    raise ValueError(name)


def check(value: Any, schema: Schema, name: str = "the body") -> None:
    """Raise Refusal, 400, where a value is not as the schema says."""
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
        check_length(value, schema, name, "Length", "characters")
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


def check_length(value: Any, schema: Schema, name: str, what: str, unit: str) -> None:
    low, high = schema.get(f"min{what}", 0), schema.get(f"max{what}", math.inf)
    if not low <= len(value) <= high:
        raise Refusal(400, f"{name} has {len(value)} {unit}; expected {low} to {high}")


def check_object(value: dict[str, Any], schema: Schema, name: str) -> None:
    known = schema["properties"]
    for key, entry in value.items():
        if key not in known:
            raise Refusal(400, f"{name} has {short(key)}; expected {', '.join(known)}")
        check(entry, known[key], key if name == "the body" else f"{name}.{key}")
    if missing := [key for key in schema.get("required", ()) if key not in value]:
        raise Refusal(400, f"{name} lacks {', '.join(missing)}")


def wrong(value: Any, name: str, rule: str) -> Refusal:
    return Refusal(400, f"{name} is {short(value)}; {rule}")


def short(value: Any) -> str:
    """A client's value within a sentence."""
    try:
        text = json.dumps(value, ensure_ascii=True)
    except ValueError:  # a number of thousands of digits
        text = "a number out of all bounds"
    return text if len(text) <= 60 else f"{text[:57]}..."
