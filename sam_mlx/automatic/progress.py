"""How far long work is: a bar, or a function of the caller's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..messages import short

Progress = bool | Callable[[int, int], None] | None


@contextmanager
def reporting(
    progress: Progress, total: int | None, unit: str = "point"
) -> Iterator[Callable[[int, int], None]]:
    """The function to report progress to, (done, total); True makes it a bar.

    total: None if it is known later.
    """
    if not (progress is None or isinstance(progress, bool) or callable(progress)):
        raise ValueError(f"progress is {short(progress)}; expected True or a function")
    if progress is not True:
        yield progress or (lambda done, total: None)
        return
    from tqdm import tqdm

    with tqdm(total=total, unit=unit) as bar:

        def update(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield update
