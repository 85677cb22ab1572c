"""Safetensors read by us: bit for bit what the format's own reader gives, and nothing mapped."""

import json
import os
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from sam_mlx import ImageEmbedding, MaskPredictions, Sam
from sam_mlx.tensor_files import DTYPES, open_safetensors

TYPES = ["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?", "c8"]


def read(path: Path) -> dict[str, mx.array]:
    with open_safetensors(path) as file:
        return {name: file.tensor(name) for name in file.places}


def write(path: Path, header, data: bytes = bytes(4), length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    length = len(text) if length is None else length
    path.write_bytes(struct.pack("<Q", length) + text + data)
    return path


@pytest.mark.parametrize("kind", TYPES)
def test_every_type_bit_for_bit(kind, tmp_path):
    bits = np.random.default_rng(0).integers(0, 2 if kind == "?" else 256, 480, dtype=np.uint8)
    arrays = {
        "bits": bits.view(kind).reshape(-1, 10), "scalar": np.ones((), kind),
        "none": np.ones((0, 3), kind),
    }  # fmt: skip
    save_file(arrays, tmp_path / "a.safetensors")
    expected = load_file(tmp_path / "a.safetensors")
    with open_safetensors(tmp_path / "a.safetensors") as file:
        assert {DTYPES[place.dtype][0].strip("<") for place in file.places.values()} == {kind}
        for name, array in expected.items():
            ours = file.array(name)
            assert (ours.shape, ours.dtype) == (array.shape, array.dtype)
            assert ours.tobytes() == array.tobytes()
    if kind == "f8":
        with np.errstate(over="ignore"):
            expected = {name: array.astype(np.float32) for name, array in expected.items()}
    for name, tensor in read(tmp_path / "a.safetensors").items():
        assert tensor.shape == expected[name].shape
        assert np.array(tensor).tobytes() == expected[name].tobytes()


def test_bfloat16_and_files_that_mlx_writes(tmp_path):
    arrays = {"a": mx.arange(99).astype(mx.bfloat16).reshape(9, 11), "b": mx.arange(3)}
    mx.save_safetensors(str(tmp_path / "a.safetensors"), arrays)  # with "__metadata__": null
    found = read(tmp_path / "a.safetensors")
    assert all(
        mx.array_equal(found[name], x) and found[name].dtype == x.dtype
        for name, x in arrays.items()
    )


def test_headers_of_every_length(tmp_path):
    """No length is taken for the beginning of another format."""
    for padding in range(300):
        header = {"a" * (padding + 1): {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
        assert len(read(write(tmp_path / "a.safetensors", header))) == 1


ENTRY = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
LIES = {
    "not an object": ([], "its header is []"),
    "an entry": ({"a": []}, "'a' has dtype None"),
    "an unknown type": ({"a": {**ENTRY, "dtype": "F8_E4M3"}}, "'a' has dtype 'F8_E4M3'; expected"),
    "a type that is a list": ({"a": {**ENTRY, "dtype": []}}, "'a' has dtype []"),
    "a shape": ({"a": {**ENTRY, "shape": {}}}, "'a' has shape {}"),
    "400 digits": ({"a": {**ENTRY, "shape": [10**400]}}, "'a' has shape [1000"),
    "a negative side": ({"a": {**ENTRY, "shape": [-1]}}, "'a' has shape [-1]"),
    "true": ({"a": {**ENTRY, "shape": [True]}}, "'a' has shape [True]"),
    "100 sides": ({"a": {**ENTRY, "shape": [1] * 100}}, "'a' has shape [1, 1"),
    "another size": ({"a": {**ENTRY, "shape": [2]}}, "'a' takes 8 bytes, but lies at [0, 4]"),
    "beyond the end": ({"a": {**ENTRY, "shape": [2], "data_offsets": [0, 8]}}, "take 8 bytes"),
    "a gap": ({"a": {**ENTRY, "data_offsets": [4, 8]}}, "'a' begins at byte 4; expected 0"),
    "an overlap": ({"a": ENTRY, "b": ENTRY}, "'b' begins at byte 0; expected 4"),
    "nothing": ({}, "its tensors take 0 bytes, but 4 are there"),
    "metadata": ({"__metadata__": {"a": 3}, "a": ENTRY}, "its __metadata__ is {'a': 3}"),
    "a long name": ({"a" * 1001: ENTRY}, "has 1,001 characters"),
    "depth": (b"[" * 100_000, "nested too deeply"),
    "digits": (b'{"a":' + b"9" * 5000 + b"}", "more digits than Python reads"),
    "no JSON": (b"{}}", "Extra data"),
}  # fmt: skip


@pytest.mark.parametrize("name", LIES)
def test_headers_that_lie(name, tmp_path):
    header, message = LIES[name]
    with pytest.raises(ValueError, match="is not a whole safetensors file: ") as error:
        read(write(tmp_path / "a.safetensors", header))
    assert message in str(error.value) and "\n" not in str(error.value)
    assert len(str(error.value)) < 500


@pytest.mark.parametrize("length", [0, 1, 100, 1 << 27, (1 << 64) - 1])
def test_lengths_of_headers_that_lie(length, tmp_path):
    with pytest.raises(ValueError, match=f"its header would have {length:,} bytes"):
        read(write(tmp_path / "a.safetensors", {"a": ENTRY}, length=length))


FOREIGN = {
    "it is empty": b"",
    "it is a Git LFS pointer; git lfs pull fetches the file itself": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n"
    ),
    "it is a zip, as torch.save writes: let its name end in .pth": b"PK\3\4" + bytes(99),
    "it is a web page; download the file that the page is about": b"\n<!DOCTYPE html>" + bytes(99),
}


@pytest.mark.parametrize("message", FOREIGN)
def test_other_files_are_named(message, tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(FOREIGN[message])
    for load in (Sam.from_pretrained, ImageEmbedding.load, MaskPredictions.load):
        with pytest.raises(ValueError, match=message):
            load(path)


def sparse(path: Path, size: int) -> Path:
    """A file of zeros that takes no room, with a header that fits it."""
    header = {"a": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}
    write(path, header, b"")
    os.truncate(path, path.stat().st_size + size)
    return path


def test_files_that_were_never_written_are_not_read(tmp_path):
    path = sparse(tmp_path / "a.safetensors", 1 << 33)
    if path.stat().st_blocks * 512 > 1 << 32:
        pytest.skip("this disk has no sparse files")
    for load in (Sam.from_pretrained, ImageEmbedding.load, MaskPredictions.load):
        with pytest.raises(
            ValueError, match=r"bytes were never written, as in a download that was"
        ):
            load(path)


def test_small_holes_are_zeros(tmp_path):
    """As of weights that start at zero, copied by tools that leave zeros out."""
    path = sparse(tmp_path / "a.safetensors", 1 << 18)
    assert not np.array(read(path)["a"]).any()


def large(path: Path) -> Path:
    save_file({"a": np.ones(1 << 20, np.float32)}, path)
    return path


def test_a_file_that_is_cut_short_while_it_is_read(tmp_path):
    """A mapped one would end the process by SIGBUS."""
    path = large(tmp_path / "a.safetensors")

    def cut_and_read() -> None:
        with open_safetensors(path) as file:
            os.truncate(path, 1 << 20)
            file.tensor("a")

    with pytest.raises(ValueError, match="it was cut short while it was read"):
        cut_and_read()


def test_a_file_that_is_changed_while_it_is_read(tmp_path):
    path = large(tmp_path / "a.safetensors")
    before = path.stat().st_mtime_ns

    def read_and_change() -> None:
        with open_safetensors(path) as file:
            file.tensor("a")
            with path.open("r+b") as other:
                other.seek(99)
                other.write(b"x")
            os.utime(path, ns=(before, before + 1))  # not all disks' clocks are that fine

    with pytest.raises(ValueError, match="was changed while it was read; load it again"):
        read_and_change()
    assert len(read(path)) == 1  # a later load is not concerned


@contextmanager
def told_by(texts: list[str]) -> Iterator[None]:
    """Keep what a ValueError says."""
    try:
        yield
    except ValueError as error:
        texts.append(str(error))


def test_rewriting_during_loads_leaves_later_ones_alone(tmp_path):
    """MLX's lazy reader hung, or gave the old error for the next good file."""
    model = Sam.from_pretrained("nano")
    model.save_pretrained(tmp_path / "model")
    path = tmp_path / "model" / "model.safetensors"
    whole = path.read_bytes()
    over = threading.Event()
    told: list[str] = []

    def rewrite() -> None:
        while not over.is_set():
            path.write_bytes(whole[: len(whole) // 2])
            path.write_bytes(whole)

    thread = threading.Thread(target=rewrite)
    thread.start()
    try:
        for _ in range(20):
            with told_by(told):
                Sam.from_pretrained(tmp_path / "model")
    finally:
        over.set()
        thread.join()
    assert all(text.count("model.safetensors") == 1 for text in told)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert repr(Sam.from_pretrained(tmp_path / "model")) == repr(model)


def test_paths_that_are_not_unicode(tmp_path):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this disk has Unicode names alone")
    model = Sam.from_pretrained("nano")
    model.save_pretrained(folder / "model")
    assert repr(Sam.from_pretrained(folder / "model")) == repr(model)
    (folder / "model" / "model.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match="is not a whole safetensors file: it is empty"):
        Sam.from_pretrained(folder / "model")
