"""What errors say stays short and printable, whatever the names and values."""

import json
import struct
import subprocess
import sys

import mlx.core as mx
import pytest

from sam_mlx import Sam
from sam_mlx.checkpoints.layouts import to_torch
from sam_mlx.config import check
from sam_mlx.masks import decode_rle
from sam_mlx.messages import MAX_LINE, lacks_memory, one_line, short, shown
from sam_mlx.modeling.layers import weights_of
from sam_mlx.registry import config_of

STEERING = "\x1b[31mred\x07\u202e"


def deep(levels: int) -> list:
    value: list = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        STEERING,
        "x" * 10**6,
        b"\x1b" * 10**6,
        list(range(10**6)),
        deep(10**5),
        {STEERING: STEERING},
        10**4000,
    ],
    ids=["steering", "long", "bytes", "list", "deep", "dict", "number"],
)
def test_values(value):
    assert len(short(value)) <= 500 and short(value).isprintable()


def test_names():
    assert shown("mask_decoder.iou") == "mask_decoder.iou" and shown("é") == "é"
    assert shown(STEERING).isprintable() and len(shown("x" * 10**6)) == 100


def test_one_line():
    assert one_line(ValueError("a\n  b")) == "a b"
    assert one_line(ValueError(STEERING)) == "\\x1b[31mred\\x07\\u202e"
    assert len(one_line(OSError("x" * 10**6))) <= MAX_LINE + 4


@pytest.mark.parametrize(
    ("error", "lacks"),
    [
        (MemoryError(), True),
        (MemoryError("Unable to allocate 8.00 TiB for an array"), True),
        (RuntimeError("[malloc] Unable to allocate 4398046511104 bytes."), True),
        (RuntimeError("[metal::malloc] Attempting to allocate 9 bytes which is greater"), True),
        (RuntimeError("[METAL] Command buffer execution failed: Insufficient Memory (0000)"), True),
        (RuntimeError("cudaMallocAsync(&data, size, stream) failed: out of memory"), True),
        (RuntimeError("[matmul] Last dimension of first input must match"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_memory_that_is_not_there(error, lacks):
    assert lacks_memory(error) == lacks
    assert one_line(error).startswith("not enough memory") == lacks
    assert ("a smaller picture or --image-size takes less" in one_line(error)) == lacks
    assert str(error) in one_line(error)


MANY = [f"mask_decoder.{i}" for i in range(10**5)]


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(
    "names",
    [
        pytest.param(MANY, marks=pytest.mark.slow, id="many"),
        pytest.param(["image_encoder." + STEERING + "x" * 10**5], id="long"),
        pytest.param([STEERING], id="steering"),
    ],
)
def test_tensor_names(whole, names, tmp_path):
    """Beside a model's tensors, and alone. These have no values."""
    own = weights_of(Sam.from_pretrained("nano")) if whole else {}
    entry = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    text = json.dumps(dict.fromkeys([*own, *names], entry)).encode()
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
    with pytest.raises(ValueError, match=r"a\.safetensors") as raised:
        Sam.from_pretrained(tmp_path / "a.safetensors")
    error = str(raised.value)
    assert len(error) < MAX_LINE and error.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    "name", ["config.json", "preprocessor_config.json", "model.safetensors.index.json"]
)
@pytest.mark.parametrize(
    "text", ["[" * 10**5 + "]" * 10**5, '{"a":' * 10**5 + "1" + "}" * 10**5, "{", "\xff"]
)
def test_settings_that_are_no_json(name, text, tmp_path):
    nano = Sam.from_pretrained("nano")
    if name.startswith("pre"):  # is read beside weights with Meta's names
        weights = to_torch(weights_of(nano), nano)
        mx.save_safetensors(str(tmp_path / "model.safetensors"), weights)
    else:
        (tmp_path / "config.json").write_text(json.dumps(nano.config.to_dict()))
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=name):
        Sam.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    "field", ["image_size", "resize", "encoder", "pixel_mean", "variant", STEERING]
)
@pytest.mark.parametrize(
    "value", [STEERING * 1000, deep(900), list(range(10**5))], ids=["text", "deep", "long"]
)
def test_settings(field, value):
    values = Sam.from_pretrained("nano").config.to_dict() | {field: value}
    with pytest.raises(ValueError, match=".") as raised:
        check(config_of(values))
    assert len(str(raised.value)) < MAX_LINE and str(raised.value).isprintable()


@pytest.mark.parametrize("counts", [STEERING * 1000, deep(100), [-1] * 10**5])
def test_run_lengths(counts):
    with pytest.raises(ValueError, match="RLE") as raised:
        decode_rle({"size": [3, 3], "counts": counts})
    assert len(str(raised.value)) < MAX_LINE and str(raised.value).isprintable()


def test_in_the_shell(tmp_path):
    command = [sys.executable, "-m", "sam_mlx", "info", STEERING + "/" + "x" * 10**5]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and len(done.stderr) < MAX_LINE + 100
    assert done.stderr.rstrip("\n").isprintable()
