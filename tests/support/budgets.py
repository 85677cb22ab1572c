"""Memory bounds smaller than the device's."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from sam_mlx.machine import budget


@contextmanager
def limited(**bounds: int) -> Iterator[None]:
    """Work with these fields of the budget, whatever the device."""
    budget.use(replace(budget.budget(), **bounds))
    try:
        yield
    finally:
        budget.use(None)
