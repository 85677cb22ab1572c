"""Arrays and tables of any framework as numpy's, without importing the framework."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import mlx.core as mx
import numpy as np

from .machine.streams import Forked, enter
from .machine.worker import at_work
from .messages import one_line, short

TRACED = "during function transformations"  # of MLX's error where a value is not known yet
WIDENED = ("bfloat16", "float8")  # how the names of types that numpy lacks begin
MAX_NUMBER = 3.4e32  # in prompts: leaves room for the factors of the positional encoding in float32
MAX_SAID = 200  # characters of another library's error
MAX_PIXELS = 1 << 32  # of masks that are made at once; may be increased


def to_numpy(values: Any, name: str) -> np.ndarray:
    """Numbers that a caller gave as ``name``, as a numpy array.

    Takes what numpy takes, MLX's arrays, and tensors of PyTorch, JAX, TensorFlow, CuPy and others
    by the methods that they have: on any device, with a gradient, of types that numpy lacks, which
    become float32; also in lists. Tables of pandas, polars and pyarrow are taken by rows. Raises
    ValueError, with the type, for anything else, and for entries that are masked.
    """
    array = _converted(values, name)
    if array.dtype == object:
        raise ValueError(f"{name} is {_kind(values)}; expected numbers, as of a numpy array")
    return array


def to_numbers(values: Any, name: str) -> np.ndarray:
    """``to_numpy`` for what may also hold Python's own numbers of any kind.

    Raises ValueError for values that are not numbers, and for numbers too large for a float.
    """
    array = _converted(values, name)
    fits = array.dtype.kind in "biufO"
    if fits and array.dtype == object:
        try:
            array = array.astype(float)
        except (TypeError, ValueError, OverflowError):
            fits = False
    if not fits:
        raise ValueError(f"{name} is {short(values)}; expected numbers, in lists of one length")
    return array


def to_finite(array: np.ndarray, name: str) -> np.ndarray:
    """Numbers as float64. Raises ValueError where they are not finite in the model's float32."""
    numbers = array.astype(float)
    if numbers.size and not np.abs(numbers).max() <= MAX_NUMBER:
        raise ValueError(f"{name} holds NaN or infinite values, or some beyond 1e32")
    return numbers


def to_rows(values: Any, name: str) -> Any:
    """A sequence with an entry for each prompt: of tables, arrays and tensors the rows."""
    if isinstance(values, Sequence):
        return values
    array = _converted(values, name)
    if array.ndim == 0:
        raise ValueError(f"{name} is {short(values)}; expected a sequence, an entry a prompt")
    return array


def are_finite(arrays: Iterable[mx.array]) -> bool:
    """Whether arrays hold neither NaN nor infinities; True for those of a function that MLX traces,
    whose values are not known.
    """
    try:
        return _are_finite([x for x in arrays if mx.issubdtype(x.dtype, mx.inexact)])
    except ValueError as error:
        if TRACED in str(error):
            return True
        raise


@at_work
def _are_finite(floats: list[mx.array]) -> bool:
    return all(bool(mx.isfinite(x).all()) for x in floats)


def check_size(size: Any, name: str) -> tuple[int, int]:
    """Height and width in pixels; ValueError for anything else, and for more than MAX_PIXELS."""
    try:
        height, width = map(operator.index, size)
    except (TypeError, ValueError):
        height = width = 0
    if min(height, width) < 1 or any(isinstance(side, bool) for side in size):
        raise ValueError(
            f"{name} is {short(size)}; expected height and width, whole numbers above 0"
        )
    check_pixels(height * width, name)
    return height, width


def count_of(values: Any, name: str) -> int:
    """How many there are in a sequence; ValueError for what is none."""
    if not hasattr(values, "__len__") or not hasattr(values, "__getitem__"):
        raise ValueError(f"{name} is {short(values)}; expected a sequence")
    return len(values)


def check_rgb(image: Any) -> None:
    """Raise ValueError for what is not a picture as ``load_image`` makes it."""
    if not isinstance(image, np.ndarray):
        raise ValueError(f"image is {_kind(image)}; expected what transforms.load_image makes")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise ValueError(
            f"image has shape {image.shape} and dtype {image.dtype}; expected (H, W, 3) uint8, "
            "which transforms.load_image makes"
        )


def check_pixels(count: int, name: str) -> None:
    """Raise ValueError for masks of more pixels than should be made at once."""
    if count > MAX_PIXELS:
        raise ValueError(
            f"{name} would take {short(count)} pixels; expected up to {MAX_PIXELS} at once. "
            "sam_mlx.arrays.MAX_PIXELS is the limit"
        )


def _converted(values: Any, name: str) -> np.ndarray:
    """What numpy makes of values; it may hold objects."""
    if isinstance(values, np.ndarray):
        return _plain(values, name)
    if isinstance(values, Mapping):
        raise _Refusal(
            f"{name} is {_kind(values)}, of named columns; expected numbers, and its rows are "
            f"np.column_stack(list({name}.values()))"
        )
    try:
        array = np.asarray(_on_host(values, name))
        if array.dtype == object and array.ndim == 0 and hasattr(values, "__dlpack__"):
            array = np.from_dlpack(values)
    except (MemoryError, _Refusal, Forked):
        raise
    except Exception as error:
        said = one_line(error)[:MAX_SAID]
        raise _Refusal(f"{name} is {_kind(values)}, of which numpy says: {said}") from error
    if array.ndim == 2 and not isinstance(values, (list, tuple)):
        _check_columns(values, name)
    return _plain(array, name)


class _Refusal(ValueError):
    """One that is worded already."""


def _plain(array: np.ndarray, name: str) -> np.ndarray:
    """An array of a type that numpy has, without a mask or fields."""
    if isinstance(array, np.ma.MaskedArray):
        if np.ma.is_masked(array):
            raise _Refusal(
                f"{name} has masked entries; expected numbers: {name}.filled(0) puts 0 there"
            )
        array = array.data
    array = np.asarray(array)  # a matrix has two axes whatever is done to it
    if array.dtype.names is not None:
        raise _Refusal(
            f"{name} has the fields {', '.join(array.dtype.names)}; expected plain numbers: "
            f"np.array(np.asarray({name}).tolist()) has them as columns"
        )
    return array.astype(np.float32) if array.dtype.name.startswith(WIDENED) else array


def _check_columns(table: Any, name: str) -> None:
    """Raise ValueError for columns that their names say are in another order than x, y, x, y."""
    columns = getattr(table, "column_names", None) or getattr(table, "columns", None)
    names = [] if columns is None else [str(column) for column in columns]
    axes = "".join(column[:1].lower() for column in names)
    is_size = {"w", "h", "width", "height"} & {column.lower() for column in names}
    if is_size or (axes and set(axes) <= {"x", "y"} and axes != "xy" * (len(axes) // 2)):
        raise _Refusal(
            f"{name} has the columns {', '.join(map(repr, names))}; expected x and y of a point, "
            f"or x0, y0, x1, y1 of a box, in that order: {name}[['x0', 'y0', 'x1', 'y1']]"
        )


def _on_host(values: Any, name: str) -> Any:
    """A tensor in the CPU's memory, of a type that numpy has."""
    if isinstance(values, (list, tuple)):
        # Numbers and lists of them are left to numpy.
        if any(isinstance(v, Mapping) or hasattr(v, "dtype") for v in values):
            return [v if np.isscalar(v) else _converted(v, name) for v in values]
        return values
    if isinstance(values, mx.array):
        enter()  # it may have to be computed
        return values.astype(mx.float32) if values.dtype == mx.bfloat16 else values
    if hasattr(values, "detach") and hasattr(values, "cpu"):  # PyTorch's
        values = values.detach().cpu()
        is_wider = str(values.dtype).removeprefix("torch.").startswith(WIDENED)
        return values.float() if is_wider else values
    if hasattr(values, "__cuda_array_interface__") and hasattr(values, "get"):  # CuPy's
        return values.get()
    return values


def _kind(value: object) -> str:
    kind = type(value)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return f"of type {module}{kind.__qualname__}"
