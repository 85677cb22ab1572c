"""What is refused before any work."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any

from ..automatic.options import DEFAULTS, OF_MODEL, SELECTING, THRESHOLDS
from ..files import PARTIAL, read_json
from ..formats import FORMATS, Format
from .plan import ANSWERS, NOTES
from .processes import LOCK, SETTINGS

ADVICE = "--overwrite makes them again; or "
CHOSEN = frozenset(SELECTING)  # settings that only choose among answers
OF_THE_MODEL = "of_the_model"  # which thresholds of earlier results were the model's own
THE_MODELS = "the model's own"  # thresholds, where none are given: one of
OWN_THRESHOLDS = {
    name: [getattr(DEFAULTS, name), *(own[name] for own in THRESHOLDS.values())]
    for name in OF_MODEL
}

# Names that no result may have; the last is the folder of COCO's parts.
OWN = (".", "..", SETTINGS, NOTES, ANSWERS, LOCK, Path(FORMATS["coco"].pattern).parts[0])


def check_formats(formats: Sequence[Format]) -> None:
    """Raise ImportError where a format needs a package that is missing."""
    for format in formats:
        format.check()


def check_names(pictures: dict[str, Path], output: Path, formats: Sequence[Format]) -> None:
    """Raise ValueError where two results would share a name, or one would use the command's own."""
    paths = Counter(format.path(output, name) for name in pictures for format in formats)
    own = {output / name for name in OWN}
    for path in paths:
        if path in own or path.relative_to(output).parts[0].startswith(PARTIAL):
            raise ValueError(f"a result would be called {path}, as a file of this command's own is")
    paths.update(output / format.joined for format in formats if format.joined)
    path, times = paths.most_common(1)[0]
    if times > 1:
        raise ValueError(
            f"two results would be called {path}; rename the picture, or write each of the formats "
            f"{', '.join(format.name for format in formats)} to a folder of its own"
        )


def check_strangers(pictures: dict[str, Path], output: Path, formats: Sequence[Format]) -> None:
    """Raise ValueError where a result would replace a file that this command did not write."""
    if (output / SETTINGS).exists():
        return
    paths = [format.path(output, name) for name in pictures for format in formats]
    paths += [output / format.joined for format in formats if format.joined]
    for path in paths:
        if os.path.exists(path):
            raise ValueError(f"{path} was not written by this command; write to another folder")


def is_other(name: str, settings: dict[str, Any], now: Any) -> bool:
    """Whether one of earlier settings has changed. Which thresholds a model has of its own may not
    be known.
    """
    before = settings.get(name)
    if now == THE_MODELS:
        own = name in settings.get(OF_THE_MODEL, ()) or before in OWN_THRESHOLDS[name]
        return before is not None and not own
    return bool(before != now)


def check_settings(
    path: Path, settings: dict[str, Any], may_change: Container[str] | None = (), advice: str = ""
) -> set[str]:
    """Which settings results in the folder were made with other values of.

    may_change: None for all. Raises ValueError, with the advice, for settings that may not.
    """
    if not path.exists():
        return set()
    try:
        before = read_json(path)
    except ValueError:
        before = None
    if not isinstance(before, dict):
        raise ValueError(
            f"{path} is damaged, and says no more what the results here were made with; use "
            "another folder, or delete this one"
        )
    now = {**dict.fromkeys(OF_MODEL, THE_MODELS), **settings}
    changed = sorted(name for name in now if is_other(name, before, now[name]))
    if may_change is not None and any(name not in may_change for name in changed):
        listed = ", ".join(f"{k}={before.get(k)} (now {now[k]})" for k in changed)
        raise ValueError(
            f"{path.parent} holds results made with {listed}; {advice}use another folder or "
            "delete it"
        )
    return set(changed)


def leaves_open(path: Path, settings: dict[str, Any]) -> bool:
    """Whether only the model can say that thresholds which are not given are still the same: those
    of earlier results were given.
    """
    if not path.exists():
        return False
    own = read_json(path).get(OF_THE_MODEL, ())
    return any(name not in settings and name not in own for name in OF_MODEL)
