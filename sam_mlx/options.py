"""Options that are declared once: name, type, default, help and bounds in one dataclass field.

The check of its value, its flag in the shell, and the settings that the results of a run depend on
derive from the declaration.
"""

from __future__ import annotations

import math
from argparse import Action, ArgumentDefaultsHelpFormatter, _ActionsContainer
from collections.abc import Callable, Container, Iterator
from dataclasses import Field, dataclass, field, fields
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from .messages import short

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    D = TypeVar("D", bound=DataclassInstance)


Flags = _ActionsContainer  # a parser, or a group of its flags
MAX_WHOLE = (1 << 63) - 1  # where a rule states no other


@dataclass(frozen=True)
class Rule:
    """A condition on values, in words and as a test."""

    words: str
    fits: Callable[[Any], bool]


def whole_number(low: int, high: int | None = None) -> Rule:
    """A whole number from ``low`` to ``high``, without a bool."""
    return Rule(
        f"a whole number from {low}" + (f" to {high}" if high else ""),
        lambda value: (
            isinstance(value, (int, np.integer))
            and not isinstance(value, bool)
            and bool(low <= value <= (MAX_WHOLE if high is None else high))
        ),
    )


def number(words: str, fits: Callable[[float], bool] = lambda _: True) -> Rule:
    """A number that also passes a test."""
    return Rule(words, lambda value: _is_number(value) and bool(fits(value)))


NUMBER = number("a number")


def one_of(*choices: Any, words: str = "") -> Rule:
    """One of these values, of the same type."""
    same = {(type(choice), choice) for choice in choices}  # True is not 1 here
    listed = f"one of {', '.join(map(str, choices))}"
    return Rule(words or listed, lambda value: _is_plain(value) and (type(value), value) in same)


def _is_plain(value: object) -> bool:
    """True if it can be looked up: lists and arrays cannot."""
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        return False
    try:
        return not math.isnan(value)
    except OverflowError:  # of a whole number beyond a float
        return False


def option(
    default: Any,
    help: str,
    rule: Rule | None = None,
    *,
    flag: bool = True,
    changes_results: bool = True,
    choices: tuple[Any, ...] | None = None,
    or_none: bool = False,
    of: type | None = None,
    **metadata: Any,
) -> Any:
    """A dataclass field with its help, and the rule for its values.

    flag: whether the shell has it. changes_results: False if it only changes speed. choices: the
    only allowed values. or_none: None is allowed too, as it always is if it is the default. of:
    the type of a flag whose default is None. Other metadata: "of_model" if models have defaults of
    their own, in whose place the shell has None.
    """
    metadata |= {
        "help": help,
        "rule": rule or (one_of(*choices) if choices else None),
        "or_none": or_none or default is None,
        "flag": flag,
        "changes_results": changes_results,
        "choices": choices,
        "of": of or type(default),
    }
    return field(default=default, metadata=metadata)


def check(options: DataclassInstance) -> None:
    """Raise ValueError for the first value that breaks the rule of its field."""
    for f in fields(options):
        rule, value = f.metadata["rule"], getattr(options, f.name)
        if rule is None or (value is None and f.metadata["or_none"]):
            continue
        if not rule.fits(value):
            raise ValueError(f"{f.name} is {short(value)}; expected {rule.words}")


def check_flag(value: Any, name: str) -> Any:
    """True, False or None, as a bool where it is 1 or 0; ValueError for anything else."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, (int, np.bool_, np.integer)) and value in (0, 1):
        return bool(value)
    raise ValueError(f"{name} is {short(value)}; expected True or False")


def add_flags(
    parser: Flags, declared: type[DataclassInstance], only: Container[str] | None = None
) -> None:
    """Add flags for all options, or ``only`` these: ``a_b`` becomes ``--a-b``."""
    for f in _flags(declared):
        if only is not None and f.name not in only:
            continue
        name = f"--{f.name.replace('_', '-')}"
        if f.default is False:
            parser.add_argument(name, action="store_true", help=f.metadata["help"])
            continue
        parser.add_argument(
            name,
            type=f.metadata["of"],
            default=None if f.metadata.get("of_model") else f.default,
            choices=f.metadata["choices"],
            help=flag_help(f),
        )


def flag_help(f: Field[Any]) -> str:
    """A flag's help; argparse adds defaults, but for those that depend on the model."""
    text = str(f.metadata["help"])
    if f.metadata.get("of_model"):
        text += f" (default: the model's own; {f.default} for Meta's models)"
    return text


class Help(ArgumentDefaultsHelpFormatter):
    """Help that names defaults, as one would type them, unless they are empty."""

    def _get_help_string(self, action: Action) -> str | None:
        if action.default in (None, False, []):
            return action.help
        if isinstance(action.default, float):
            return f"{action.help} (default: {action.default:.3g})"
        if isinstance(action.default, list):
            return f"{action.help} (default: {' '.join(map(str, action.default))})"
        return super()._get_help_string(action)


def from_flags(args: object, declared: type[D], **others: Any) -> D:
    """Options from the parsed flags of ``add_flags``, and ``others`` that have no flag."""
    given = {f.name: getattr(args, f.name) for f in _flags(declared)}
    for f in _flags(declared):
        if f.metadata.get("of_model") and given[f.name] is None:
            del given[f.name]
    return declared(**given, **others)


def settings(options: DataclassInstance) -> dict[str, Any]:
    """The options that results depend on, by name."""
    return {
        f.name: getattr(options, f.name)
        for f in _flags(type(options))
        if f.metadata["changes_results"]
    }


def _flags(declared: type[DataclassInstance]) -> Iterator[Field[Any]]:
    return (f for f in fields(declared) if f.metadata["flag"])
