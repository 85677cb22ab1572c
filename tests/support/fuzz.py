"""Requests that schemathesis makes from an API's document; without it, tests are skipped."""

import pytest

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is missing (extra test)")

from hypothesis import HealthCheck, Phase, settings
from schemathesis.generation import GenerationMode


def of_each(count: int) -> settings:
    """So many requests of an endpoint, the same in every run."""
    return settings(
        max_examples=count, deadline=None, database=None, derandomize=True,
        phases=[Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip


def requests(schema, endpoint):
    """By the document, and bodies against it."""
    operation = schema[endpoint.path][endpoint.method]
    strategy = operation.as_strategy()
    if endpoint.body is not None:
        strategy |= operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)
    return strategy


def from_document(document: dict):
    return schemathesis.openapi.from_dict(document)
