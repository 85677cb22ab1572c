"""Compare checkpoints, and break them."""

import mlx.core as mx
import pytest

from sam_mlx import Sam
from sam_mlx.modeling.layers import weights_of


def equal(a: Sam, b: Sam) -> None:
    a, b = weights_of(a), weights_of(b)
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].dtype == b[name].dtype
        assert mx.array_equal(a[name], b[name]), name


def broken(native, change) -> str:
    weights = dict(mx.load(str(native / "model.safetensors")))
    change(weights)
    mx.save_safetensors(str(native / "model.safetensors"), weights, {"format": "mlx"})
    with pytest.raises(ValueError, match="tensors differ") as error:
        Sam.from_pretrained(native)
    return str(error.value)
