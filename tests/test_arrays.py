"""Arrays of any framework; those that are not installed here are stood in for."""

import importlib
from contextlib import suppress

import mlx.core as mx
import numpy as np
import pytest

from sam_mlx import masks as M
from sam_mlx.arrays import to_numpy
from sam_mlx.images import load_image
from sam_mlx.prompts import is_ambiguous

PIXELS = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)


class Array:
    """Like the arrays of JAX and TensorFlow."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return self.values


class CuPy:
    __cuda_array_interface__ = {"version": 3}  # noqa: RUF012

    def __array__(self, dtype=None, copy=None):
        raise TypeError("Implicit conversion to a NumPy array is not allowed")

    def get(self):
        return PIXELS


class Tensor:
    """Like PyTorch's tensors on a GPU."""

    dtype = "torch.bfloat16"

    def __array__(self, dtype=None, copy=None):
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    def detach(self):
        return self

    def cpu(self):
        return self

    def float(self):
        return Array(PIXELS.astype(np.float32))


class Capsule:
    """An array that offers nothing but DLPack."""

    def __dlpack__(self, **options):
        return PIXELS.copy().__dlpack__()

    def __dlpack_device__(self):
        return PIXELS.__dlpack_device__()


@pytest.mark.parametrize(
    "values",
    [PIXELS, PIXELS.tolist(), Array(PIXELS), CuPy(), Tensor(), Capsule(), mx.array(PIXELS),
     memoryview(PIXELS)],
    ids=lambda values: type(values).__name__,
)  # fmt: skip
def test_arrays_of_any_kind(values):
    np.testing.assert_array_equal(to_numpy(values, "image"), PIXELS)


def test_pictures_of_mlx():
    np.testing.assert_array_equal(load_image(mx.array(PIXELS)), PIXELS)
    for dtype in (mx.bfloat16, mx.float16, mx.float32):
        floats = mx.array(PIXELS).astype(dtype)
        np.testing.assert_array_equal(load_image(floats, value_range=(0, 255)), PIXELS)
        with pytest.raises(ValueError, match="image has dtype float.*value_range"):
            load_image(floats)


def test_pictures_of_torch():
    torch = pytest.importorskip("torch")
    pixels = torch.from_numpy(PIXELS)
    np.testing.assert_array_equal(load_image(pixels), PIXELS)
    np.testing.assert_array_equal(load_image(pixels.permute(2, 0, 1).permute(1, 2, 0)), PIXELS)
    for dtype in (torch.bfloat16, torch.float16, torch.float32, torch.float64):
        floats = pixels.to(dtype).requires_grad_()
        np.testing.assert_array_equal(load_image(floats, value_range=(0, 255)), PIXELS)
    with pytest.raises(ValueError, match=r"image has shape \(3, 4, 5\).*image.permute\(1, 2, 0\)"):
        load_image(pixels.permute(2, 0, 1))
    with pytest.raises(ValueError, match="image is of type torch.Tensor, of which numpy says: "):
        load_image(torch.empty((4, 5, 3), device="meta"))


@pytest.mark.parametrize("values", [object(), {"a": 1}, {1, 2}, [None, PIXELS], Ellipsis, len])
def test_what_is_no_array_is_named(values):
    with pytest.raises(
        ValueError, match="image is of type .*(expected numbers|numpy says)"
    ) as error:
        load_image(values)
    assert len(str(error.value)) < 300 and str(error.value).count("\n") == 0


def test_memory_is_not_a_matter_of_types():
    class Large:
        def __array__(self, dtype=None, copy=None):
            raise MemoryError

    with pytest.raises(MemoryError):
        to_numpy(Large(), "image")


COLUMNS = {"x0": [1, 30], "y0": [2, 3], "x1": [20, 60], "y1": [30, 50]}
ROWS = [[1, 2, 20, 30], [30, 3, 60, 50]]


class Table:
    """As of polars and pyarrow: a sequence of columns, with rows as numpy has them."""

    def __init__(self, columns):
        self.columns = list(columns)
        self.values = columns

    def __len__(self):
        return 2

    def __iter__(self):
        return iter(self.values.values())

    def __array__(self, dtype=None, copy=None):
        return np.array(list(self.values.values())).T


def tables():
    yield Table(COLUMNS)
    for name, make in (
        ("pandas", lambda pandas: pandas.DataFrame(COLUMNS)),
        ("polars", lambda polars: polars.DataFrame(COLUMNS)),
        ("pyarrow", lambda pyarrow: pyarrow.table(COLUMNS)),
        ("pyarrow", lambda pyarrow: pyarrow.RecordBatch.from_pydict(COLUMNS)),
    ):
        with suppress(ImportError):
            yield make(importlib.import_module(name))


@pytest.mark.parametrize("table", list(tables()), ids=lambda table: type(table).__module__)
def test_rows_of_tables(table, predictor):
    """A box for each column was taken, in silence where there are four rows."""
    assert to_numpy(table, "boxes").tolist() == ROWS
    found, expected = (predictor.predict_batch(boxes=boxes) for boxes in (table, ROWS))
    for a, b in zip(found, expected):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "names", ["x0 x1 y0 y1", "y0 x0 y1 x1", "xmin xmax ymin ymax", "x y w h", "X Y Width Height"]
)
def test_columns_in_another_order_are_refused(names, predictor):
    table = Table(dict(zip(names.split(), COLUMNS.values())))
    with pytest.raises(ValueError, match=r"boxes has the columns '.*boxes\[\['x0', 'y0', 'x1'"):
        predictor.predict_batch(boxes=table)
    with pytest.raises(ValueError, match=r"^box has the columns "):
        predictor.predict(box=table)


@pytest.mark.parametrize("names", ["a b c d", "x1 y1 x2 y2", "minx miny maxx maxy", "0 1 2 3"])
def test_columns_of_other_names_are_taken_in_their_order(names):
    assert to_numpy(Table(dict(zip(names.split(), COLUMNS.values()))), "boxes").tolist() == ROWS


def test_mappings_are_refused_with_the_line_that_converts_them(predictor):
    line = r"np.column_stack\(list\(boxes.values\(\)\)\)"
    with pytest.raises(ValueError, match=f"boxes is of type dict, of named columns.*{line}"):
        predictor.predict_batch(boxes=COLUMNS)
    boxes = COLUMNS
    assert eval("np.column_stack(list(boxes.values()))").tolist() == boxes_of(boxes) == ROWS
    with pytest.raises(ValueError, match=r"box is of type dict.*list\(box.values\(\)\)"):
        predictor.predict_batch(boxes=[{name: v[0] for name, v in COLUMNS.items()}])


def boxes_of(columns):
    return [list(row) for row in zip(*columns.values())]


def test_fields_and_masks_of_arrays(predictor):
    fields = np.array([tuple(row) for row in ROWS], [(name, "f4") for name in COLUMNS])
    with pytest.raises(ValueError, match=r"boxes has the fields x0, y0, .*asarray\(boxes\).tolist"):
        predictor.predict_batch(boxes=fields)
    boxes = fields
    assert np.array(np.asarray(boxes).tolist()).tolist() == ROWS  # as it says
    masked = np.ma.masked_array(ROWS, mask=[[0, 0, 0, 1], [0] * 4])
    for given in (masked, list(masked)):
        with pytest.raises(ValueError, match=r"box(es)? has masked entries; .*filled\(0\)"):
            predictor.predict_batch(boxes=given)
    assert to_numpy(np.ma.masked_array(ROWS), "boxes").tolist() == ROWS  # nothing is masked


def test_prompts_and_masks_of_tensors(predictor):
    """In whole and in lists; numpy takes neither bfloat16 nor gradients."""
    torch = pytest.importorskip("torch")
    expected = predictor.predict_batch([[[5, 9]], [[30, 20]]], [[1], [1]], ROWS)
    half = torch.bfloat16
    coords = torch.tensor([[[5, 9]], [[30, 20]]], dtype=half, requires_grad=True)
    labels, boxes = torch.ones(2, 1, dtype=half), torch.tensor(ROWS, dtype=half)
    mlx = [mx.array([[5, 9]]).astype(mx.bfloat16), mx.array([[30, 20]]).astype(mx.bfloat16)]
    for given in (
        (coords, labels, boxes),
        (list(coords), list(labels), list(boxes)),
        ([list(one) for one in coords], labels, boxes),
        (mlx, mx.ones((2, 1)).astype(mx.bfloat16), mx.array(ROWS)),
    ):
        for a, b in zip(predictor.predict_batch(*given), expected):
            np.testing.assert_array_equal(a, b)
    masks, scores, logits = predictor.predict_batch(boxes=ROWS, multimask_output=False)
    again = predictor.predict(mask_input=torch.from_numpy(logits[0]).to(half).requires_grad_())
    assert np.isfinite(again[1]).all()
    tensor = torch.from_numpy(masks[:, 0])
    assert M.encode_rle(tensor) == M.encode_rle(masks[:, 0])
    np.testing.assert_array_equal(M.best_mask(tensor.to(half), torch.tensor([1.0, 2.0])), tensor[1])
    assert is_ambiguous(coords[0], labels[0])
    with pytest.raises(ValueError, match="point_coords is of type torch.Tensor, of which numpy"):
        predictor.predict_batch(torch.empty((2, 1, 2), device="meta"), labels)
