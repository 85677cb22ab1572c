"""Arrays of any framework; those that are not installed here are stood in for."""

import mlx.core as mx
import numpy as np
import pytest

from sam_mlx.arrays import to_numpy
from sam_mlx.images import load_image

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
