"""Progress of an export: in half precision on a CPU, a step may take minutes."""

from __future__ import annotations

from collections.abc import Callable

from tqdm import tqdm

Step = Callable[[str], None]  # called with a description as a step begins


class Steps:
    """A progress bar on a terminal, nothing elsewhere."""

    def __init__(self, total: int):
        self.bar = tqdm(total=total, unit="step", disable=None, leave=False)
        self.begun = False

    def __call__(self, what: str) -> None:
        self.bar.update(int(self.begun))
        self.bar.set_description(what)
        self.begun = True

    def __enter__(self) -> Steps:
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.close()
