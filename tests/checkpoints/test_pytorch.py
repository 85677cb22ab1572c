"""``torch.save`` files without PyTorch: every tensor bit for bit, and nothing is executed."""

import argparse
import io
import os
import pickle
import subprocess
import sys
import zipfile
from collections import OrderedDict

import mlx.core as mx
import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")

from convert.__main__ import main as convert
from convert.meta import build_meta
from sam_mlx import Sam
from sam_mlx.checkpoints.files import opened, pickles, pytorch
from sam_mlx.checkpoints.files.pickles import leaves
from sam_mlx.modeling.layers import weights_of
from sam_mlx.registry import VARIANTS
from tests.support.checkpoints import equal
from tests.support.mobile_sam import mobile_sam_state

pytestmark = pytest.mark.original


def saved(values, **options) -> io.BytesIO:
    file = io.BytesIO()
    torch.save(values, file, **options)
    return file


def read(file: io.BytesIO) -> dict[str, mx.array]:
    opened = pytorch.File(file)
    return {n: opened.read(t) for n, t in leaves(opened.values, pytorch.Tensor).items()}


def same_bits(ours: mx.array, theirs: torch.Tensor) -> bool:
    theirs = theirs.contiguous()
    if theirs.dtype == torch.bfloat16:
        ours, theirs = ours.view(mx.uint16), theirs.view(torch.uint16)
    ours = np.array(ours)
    return ours.shape == tuple(theirs.shape) and ours.tobytes() == theirs.numpy().tobytes()


TYPES = [name for name in pytorch.DTYPES if name != "float64"]


@pytest.mark.parametrize("name", TYPES)
def test_every_type_bit_for_bit(name):
    dtype = getattr(torch, name)
    bits = torch.arange(256, dtype=torch.uint8).reshape(4, 64)  # with NaN and denormals
    tensors = {"bits": (bits % 2 if name == "bool" else bits).view(dtype), "none": torch.ones(0, 3)}
    tensors = {n: t.to(dtype) for n, t in tensors.items()} | {"scalar": torch.ones((), dtype=dtype)}
    found = read(saved(tensors))
    assert found.keys() == tensors.keys()
    assert all(same_bits(found[n], t) for n, t in tensors.items())


def test_float64_is_rounded_to_float32():
    tensor = torch.linspace(-1, 1, 99, dtype=torch.float64)
    assert same_bits(read(saved({"a": tensor}))["a"], tensor.float())
    with pytest.raises(ValueError, match="dtype 'float8_e4m3fn'"):
        read(saved({"a": torch.ones(3).to(torch.float8_e4m3fn)}))


def test_values_that_differ_from_the_stored_ones_are_refused():
    """PyTorch conjugates lazily, and saves the stored values with a note."""
    with pytest.raises(ValueError, match="a tensor is {'conj': True"):
        read(saved({"a": torch.ones(2, dtype=torch.complex64).conj()}))


def test_views_and_shared_storages():
    base = torch.randn(6, 8)
    views = {
        "whole": base, "row": base[2], "column": base[:, 3], "part": base[1:4, 2:7:2],
        "transposed": base.T, "last": base[5, 7], "parameter": torch.nn.Parameter(base),
        "permuted": torch.randn(2, 3, 4).permute(2, 0, 1),
    }  # fmt: skip
    found = read(saved(views))
    assert all(same_bits(found[n], t.detach()) for n, t in views.items())


def test_other_writers():
    tensor = torch.randn(5)
    for options in ({"pickle_protocol": protocol} for protocol in (2, 3, 4, 5)):
        assert same_bits(read(saved({"a": tensor}, **options))["a"], tensor)
    torch.serialization.set_crc32_options(False)
    try:
        assert same_bits(read(saved({"a": tensor}))["a"], tensor)
    finally:
        torch.serialization.set_crc32_options(True)
    big = rewritten(saved({"a": tensor}), "archive/byteorder", b"big")
    big = rewritten(big, "archive/data/0", tensor.numpy().astype(">f4").tobytes())
    assert same_bits(read(big)["a"], tensor)


def test_everything_but_tensors_is_inert():
    values = {
        "args": argparse.Namespace(lr=1), "epoch": 3, "best": np.float64(0.5), "dtype": torch.half,
        "size": torch.Size([1, 2]), "device": torch.device("cpu"), "set": {1, 2}, 5: 6, (1, 2): 3,
        "ordered": OrderedDict(a=torch.ones(2)), "array": np.ones(3), "big": 1 << 80, "b": "x",
    }  # fmt: skip
    found = pytorch.File(saved(values)).values
    assert found["args"].name == "argparse.Namespace" and found["args"].state == {"lr": 1}
    assert (found["epoch"], found["big"], found["b"], found[5]) == (3, 1 << 80, "x", 6)
    assert list(leaves(found, pytorch.Tensor)) == ["ordered.a"]


def test_a_whole_pickled_module(small):
    """Its tensors are read; its class is not even looked up."""
    reference, model = small
    found = read(saved(reference))
    names = {n.replace("_modules.", "").replace("_parameters.", "") for n in found}
    assert reference.state_dict().keys() <= {n.replace("_buffers.", "") for n in names}


def rewritten(file: io.BytesIO, name: str, data: bytes, compress=zipfile.ZIP_STORED) -> io.BytesIO:
    """The archive with the record of that name replaced."""
    new = io.BytesIO()
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(new, "w") as archive:
        for record in old.infolist():
            content = data if record.filename == name else old.read(record)
            method = compress if record.filename == name else zipfile.ZIP_STORED
            archive.writestr(record.filename, content, method)
    return new


class Calls:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def hostile_values() -> dict[str, object]:
    import builtins
    import copyreg
    import functools

    touch = "executed"
    return {
        "system": Calls(os.system, f"touch {touch}"),
        "mkdir": Calls(os.mkdir, touch),
        "eval": Calls(eval, f"open({touch!r}, 'w')"),
        "exec": Calls(exec, f"open({touch!r}, 'w')"),
        "getattr": Calls(builtins.getattr, os, "system"),
        "nested": Calls(Calls(builtins.getattr, os, "system"), f"touch {touch}"),
        "partial": Calls(functools.partial, os.mkdir, touch),
        "copyreg": Calls(copyreg._reconstructor, type("X", (), {}), object, None),
        "popen": Calls(subprocess.Popen, ["touch", touch]),
        "torch.load": Calls(torch.load, touch),
        "import": Calls(__import__, "antigravity"),
        "pickle": Calls(pickle.loads, pickle.dumps(Calls(os.mkdir, touch))),
    }


class Lenient(pickle._Pickler):
    """Pickles calls as calls, including nested ones."""

    def save_reduce(self, func, args, *rest, obj=None):
        self.save(func)
        self.save(args)
        self.write(pickle.REDUCE)


@pytest.mark.parametrize("name", hostile_values())
def test_calls_are_not_made(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    value = hostile_values()[name]
    file = io.BytesIO()
    try:
        Lenient(file, protocol=2).dump({"a": value})
    except (pickle.PicklingError, AttributeError, TypeError):  # a local class
        file = io.BytesIO(
            b"\x80\x02ccopyreg\n_reconstructor\n(cos\nsystem\nc__builtin__\nobject\nNtR."
        )
    data = rewritten(saved({"b": torch.ones(2)}), "archive/data.pkl", file.getvalue())
    found = pytorch.File(data).values
    assert isinstance(found if isinstance(found, pickles.Inert) else found["a"], pickles.Inert)
    assert list(tmp_path.iterdir()) == []


OPCODES = {
    "INST": b"(S'touch executed'\nios\nsystem\n.",
    "OBJ": b"(cos\nsystem\nS'touch executed'\no.",
    "EXT1": b"\x82\x01.",
    "EXT4": b"\x84\x01\x00\x00\x00.",
    "PERSID": b"Pname\n.",
    "NEXT_BUFFER": b"\x97.",
    "a memo of 2^31": b"\x80\x02]r\xff\xff\xff\x7fh\x00.",
    "10 GB of bytes": b"\x80\x04\x8e" + (10**10).to_bytes(8, "little") + b"a.",
    "a long of 2 GB": b"\x80\x02\x8b\xff\xff\xff\x7f.",
    "no stack": b"\x80\x02R.",
    "no mark": b"\x80\x02]u.",
    "a call of a number": b"\x80\x02K\x01)R.",
    "no end": b"\x80\x02K\x01",
    "an unknown opcode": b"\x80\x02\xff.",
    "many digits": b"I" + b"9" * 100_000 + b"\n.",
    "no text": b"\x80\x02X\x02\x00\x00\x00\xff\xff.",
    "a tensor of no storage": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(NK\x00))tR.",
    "nothing": b"",
}


@pytest.mark.parametrize("name", OPCODES)
def test_opcodes_that_weights_never_need_are_one_error(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = rewritten(saved({"b": torch.ones(2)}), "archive/data.pkl", OPCODES[name])
    with pytest.raises(ValueError, match=r"^\S.*$") as error:
        pytorch.File(data)
    assert "\n" not in str(error.value) and list(tmp_path.iterdir()) == []


DEEP = 100_000


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x02" + b"(" * DEEP + b"t" * DEEP + b".",
        b"\x80\x02" + b"]" * DEEP + b"a" * (DEEP - 1) + b".",
        b"\x80\x02}" + b"(" * DEEP + b"t" * DEEP + b"K\x01s.",  # as a key, which would be hashed
        b"\x80\x02ccollections\nOrderedDict\n" + b")R}b" * 1 + b".",
        b"\x80\x02K\x01" + b"\x85" * DEEP + b".",
        b"\x80\x02cx\ny\n" + b")\x81" * 1 + b"(K\x01" * DEEP + b"1" * DEEP + b".",
        b"\x80\x02]q\x00h\x00a.",  # holds itself
        b"\x80\x02]q\x00" + b"(h\x00h\x00tq\x00" * 50_000 + b".",  # 2^50000 paths
    ],
)
def test_depth_is_bounded(data):
    values = pickles.read(data)
    assert leaves(values, pytorch.Tensor) == {}


def claiming(shape, strides, offset=0, numel=4) -> io.BytesIO:
    """A file whose pickle claims this of four float32."""

    def number(n: int) -> bytes:
        size = (n.bit_length() + 8) // 8
        return b"\x8a" + bytes([size]) + n.to_bytes(size, "little", signed=True)

    def row(numbers) -> bytes:
        return b"(" + b"".join(map(number, numbers)) + b"t"

    storage = (
        b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
    )
    data = b"\x80\x02}X\x01\x00\x00\x00actorch._utils\n_rebuild_tensor_v2\n("
    data += storage + number(numel) + b"tQ" + number(offset) + row(shape) + row(strides)
    data += b"\x89}tRs."
    return rewritten(saved({"a": torch.arange(4.0)}), "archive/data.pkl", data)


def test_claims_are_checked_before_memory_is_allocated():
    assert np.array(read(claiming((4,), (1,)))["a"]).tolist() == [0, 1, 2, 3]
    assert np.array(read(claiming((2, 2), (1, 2), 0, 10**9))["a"]).tolist() == [[0, 2], [1, 3]]
    for shape, strides, offset in [
        ((5,), (1,), 0), ((4,), (1,), 1), ((2,), (4,), 0), ((10**10,), (0,), 0),
        ((10**10, 10**10), (1, 1), 0), ((2,), (2**62,), 0), ((1,), (1,), 2**62),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match="reaches beyond its storage of 4 values"):
            read(claiming(shape, strides, offset))
    for shape, strides, offset in [((-1,), (1,), 0), ((2,), (-1,), 1), ((2,), (1,), -1),
                                   ((2, 2), (1,), 0)]:  # fmt: skip
        with pytest.raises(ValueError, match="a tensor has invalid shape"):
            read(claiming(shape, strides, offset))


def test_archives_that_lie():
    whole = saved({"a": torch.arange(1000.0)})
    zeros = bytes(50_000_000)
    with pytest.raises(ValueError, match="'archive/data/0' is compressed"):
        read(rewritten(whole, "archive/data/0", zeros, zipfile.ZIP_DEFLATED))
    content = bytearray(whole.getvalue())
    at = content.index(np.arange(1000, dtype="f4").tobytes()[4:400])
    content[at + 9] ^= 1
    with pytest.raises(ValueError, match="'data/0' is damaged"):
        read(io.BytesIO(content))
    overlapping = io.BytesIO(whole.getvalue())
    with zipfile.ZipFile(overlapping, "a") as archive:
        archive.getinfo("archive/data/0").header_offset = 0
        archive.writestr("archive/more", b"")
    with pytest.raises(ValueError, match="overlaps another"):
        read(overlapping)
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(whole, "a") as archive:
        archive.writestr("archive/data/0", bytes(4000))
    with pytest.raises(ValueError, match="two records with the same name"):
        read(whole)


def other_files(folder) -> dict[str, str]:
    legacy = {"a": torch.ones(2)}
    torch.save(legacy, folder / "legacy.pth", _use_new_zipfile_serialization=False)
    with pytest.warns(DeprecationWarning, match="torch.jit"):
        torch.jit.script(torch.nn.Linear(2, 2)).save(str(folder / "script.pt"))
    (folder / "lfs.pth").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\n")
    (folder / "empty.pth").touch()
    (folder / "page.pth").write_text("<!DOCTYPE html>")
    (folder / "tar.pth").write_bytes(bytes(257) + b"ustar" + bytes(300))
    with zipfile.ZipFile(folder / "other.pth", "w") as archive:
        archive.writestr("../../data.pkl", b"N.")
    return {
        "legacy.pth": "predates PyTorch 1.6.*python -m convert", "script.pt": "TorchScript program",
        "lfs.pth": "git lfs pull", "empty.pth": "empty", "page.pth": "it is a web page",
        "tar.pth": "tar archive", "other.pth": "not one that torch.save writes",
    }  # fmt: skip


def test_other_files_are_named(tmp_path):
    for name, message in other_files(tmp_path).items():
        with pytest.raises(ValueError, match=f"{name}: .*{message}"), opened(tmp_path / name):
            pass


def test_cut_short_at_every_percent(small, tmp_path):
    whole = saved(small[0].state_dict()).getvalue()
    path = tmp_path / "cut.pth"
    for percent in range(100):
        path.write_bytes(whole[: len(whole) * percent // 100])
        with pytest.raises(ValueError, match=r"cut\.pth: it is (empty|cut short)") as error:
            Sam.from_pretrained(path)
        assert "\n" not in str(error.value)


def test_every_place_of_a_model(small, tmp_path):
    """A file, Hugging Face's name for it in a folder, and safetensors, which take precedence."""
    reference, model = small
    folder = tmp_path / "folder"
    folder.mkdir()
    for path in (tmp_path / "sam.pth", tmp_path / "sam.pt", folder / "pytorch_model.bin"):
        torch.save(reference.state_dict(), path)
        equal(Sam.from_pretrained(path), model)
    equal(Sam.from_pretrained(folder), model)
    (folder / "pytorch_model.bin").unlink()
    names = sorted(reference.state_dict())
    for i in (0, 1):  # in shards, neither of which is a whole model
        part = {name: reference.state_dict()[name] for name in names[i::2]}
        torch.save(part, folder / f"pytorch_model-0000{i + 1}-of-00002.bin")
    equal(Sam.from_pretrained(folder), model)
    Sam(model.config).save_pretrained(tmp_path / "other")
    os.rename(tmp_path / "other" / "model.safetensors", folder / "model.safetensors")
    os.rename(tmp_path / "other" / "config.json", folder / "config.json")
    assert not mx.array_equal(
        Sam.from_pretrained(folder).image_encoder.pos_embed, model.image_encoder.pos_embed
    )


WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None  # an import of it fails
from sam_mlx.cli import main
for model, out in zip(sys.argv[2::2], sys.argv[3::2]):
    assert main(["predict", sys.argv[1], "--point", "30", "30", "--model", model, "-o", out]) == 0
"""


@pytest.mark.slow
def test_the_shell_without_pytorch(small, tmp_path, photograph):
    """Masks from a .pth and from MobileSAM's .pt equal those from their conversions bit for bit."""
    Image.fromarray(photograph).save(tmp_path / "picture.png")
    mobile = mobile_sam_state(build_meta(VARIANTS["vit_t"]))
    assert len(mobile) == 439
    models = {}
    for name, state in {"small.pth": small[0].state_dict(), "mobile.pt": mobile}.items():
        torch.save(state, tmp_path / name)
        assert convert([str(tmp_path / name), str(tmp_path / f"{name}.converted")]) == 0
        models |= {path: f"{path}.out" for path in (name, f"{name}.converted")}
    words = [word for pair in models.items() for word in pair]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, "picture.png", *words],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for name in ("small.pth", "mobile.pt"):
        for file in ("mask.png", "logits.npy"):
            direct, converted = (tmp_path / f"{name}{c}.out" / file for c in ("", ".converted"))
            assert direct.read_bytes() == converted.read_bytes()


def test_hub_repositories_that_hold_only_a_pickle(small, tmp_path, monkeypatch):
    """Safetensors are requested first, and a pickle only if there are none."""
    reference, model = small
    repository, cache = tmp_path / "repository", tmp_path / "cache"
    repository.mkdir()
    cache.mkdir()
    torch.save(reference.state_dict(), repository / "pytorch_model.bin")
    asked = []

    def download(repo, revision, allow_patterns, ignore_patterns):
        asked.append(allow_patterns)
        for file in repository.iterdir():
            assert ignore_patterns == ["*/*"]
            if any(file.match(pattern) for pattern in allow_patterns):
                (cache / file.name).write_bytes(file.read_bytes())
        return str(cache)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    equal(Sam.from_pretrained("owner/name"), model)
    assert [any(p.endswith(".bin") for p in patterns) for patterns in asked] == [False, True]


@pytest.mark.parametrize("place", [b"\xff\xff\xff\x00", b"\xe0\xff\x00\x00", b"\x03\x00\x00\x00"])
def test_a_record_that_is_not_where_the_directory_says(place):
    """The pickle's record, whose place is at bytes 42 to 46 of its entry."""
    whole = io.BytesIO()
    torch.save({"a": torch.ones(3)}, whole)
    data = bytearray(whole.getvalue())
    entry = data.index(b"PK\1\2")
    data[entry + 42 : entry + 46] = place
    with pytest.raises(ValueError, match=r"has no header|overlaps"):
        read(io.BytesIO(data))


def with_pickle(data: bytes) -> io.BytesIO:
    return rewritten(saved({"b": torch.ones(2)}), "archive/data.pkl", data)


MANY = 15 << 20
ORDERED = b"\x80\x02ccollections\nOrderedDict\nq\x00"
KEY = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\n"
# Pickles of megabytes, or that would make far more of little.
GREEDY = {
    "None": b"\x80\x02" + b"N" * MANY + b".",
    "marks": b"\x80\x02" + b"(" * MANY + b".",
    "dictionaries": b"\x80\x02" + b"}" * MANY + b".",
    "lists": b"\x80\x02" + b"]" * MANY + b".",
    "tuples": b"\x80\x02N" + b"\x85" * MANY + b".",
    "copies": b"\x80\x02N" + b"2" * MANY + b".",
    "memos": b"\x80\x04N" + b"\x94" * MANY + b".",
    "protocols": b"\x80\x02" * (MANY // 2) + b".",
    "one list through many calls": ORDERED + b"](" + b"NN\x86" * 100_000 + b"e\x85q\x01"
    + b"0h\x00h\x01R" * 90_000 + b".",
    "one list as many pairs": ORDERED + b"(" + b"N" * 90_000 + b"lq\x01](" + b"h\x01" * 90_000
    + b"e\x85R.",
    "a storage's name of 2^50 parts": b"\x80\x02" + KEY + b"]q\x01" + b"(h\x01h\x01tq\x01" * 50
    + b"X\x03\x00\x00\x00cpuK\x01tQ.",
    "a class's name of 2^50 parts": b"\x80\x04]\x94" + b"(h\x00h\x00t\x94" * 50
    + b"h\x05h\x05\x93.",
    "50 MB": b"\x80\x02" + b"N" * (50 << 20) + b".",
}  # fmt: skip


@pytest.mark.parametrize("name", GREEDY)
def test_steps_of_pickles_are_bounded(name):
    with pytest.raises(ValueError, match=r"^(its|a) .*(steps|damaged|expected)"):
        pytorch.File(with_pickle(GREEDY[name]))


def test_long_keys_make_no_long_paths():
    key = b"X" + (5 << 20).to_bytes(4, "little") + b"k" * (5 << 20)
    values = pickles.read(b"\x80\x02}" + key + b"](" + b"]" * 100_000 + b"es.")
    assert leaves(values, pytorch.Tensor) == {}


def test_strides_of_axes_that_have_one_place_mean_nothing():
    for shape, strides in [((1,), (2**62,)), ((1, 4), (2**62, 1)), ((0,), (2**62,)), ((), ())]:
        assert read(claiming(shape, strides))["a"].shape == shape
    assert read(claiming((0,), (1,), 2**62))["a"].shape == (0,)
    for shape in ((10**400,), (1,) * 33, (2**63,)):
        with pytest.raises(ValueError, match="a tensor has invalid shape") as error:
            read(claiming(shape, (0,) * len(shape)))
        assert len(str(error.value)) < 200


def test_expanded_tensors_repeat_their_storage():
    tensors = {
        "expanded": torch.ones(1).expand(7, 5), "rows": torch.arange(5.0).expand(4, 5),
        "overlapping": torch.arange(5.0).unfold(0, 3, 1), "scalar": torch.tensor(2.0).expand(3),
    }  # fmt: skip
    found = read(saved(tensors))
    assert all(same_bits(found[n], t) for n, t in tensors.items())
    with pytest.raises(ValueError, match="reaches beyond its storage of 4 values"):
        read(claiming((pytorch.MAX_EXPANDED + 1,), (0,)))


def test_models_that_take_more_than_any_are_not_read(tmp_path):
    tensors = {f"image_encoder.{i}": torch.ones(1).expand(1 << 26) for i in range(70)}
    parts = {f"{part}.a": torch.ones(1) for part in ("prompt_encoder", "mask_decoder")}
    torch.save(tensors | parts, tmp_path / "sam.pth")
    with pytest.raises(ValueError, match="its tensors take 18,790,481,928 bytes; expected at most"):
        Sam.from_pretrained(tmp_path / "sam.pth")


def test_checksums_of_records_that_views_share():
    file = saved({"view": torch.arange(1000.0)[3:9], "other": torch.arange(9.0)})
    data = bytearray(file.getvalue())
    at = data.index(np.arange(1000, dtype="f4").tobytes()[:400])
    data[at + 3900] ^= 1  # outside of the view
    damaged = pytorch.File(io.BytesIO(data))
    view = leaves(damaged.values, pytorch.Tensor)["view"]
    with pytest.raises(ValueError, match=r"its record 'data/\d' is damaged \(CRC-32\)"):
        damaged.read(view)


@pytest.mark.parametrize("claimed", [9 << 20, 0xFFFFFFF0])
def test_directories_are_bounded(claimed):
    data = bytearray(saved({"a": torch.ones(3)}).getvalue())
    end = data.rindex(b"PK\5\6")
    data[end + 12 : end + 16] = claimed.to_bytes(4, "little")
    with pytest.raises(ValueError, match=f"its directory has {claimed:,} bytes; expected at most"):
        read(io.BytesIO(data))
    data[end + 12 : end + 16] = b"\xff" * 4
    more = data[:end] + b"PK\6\6" + bytes(36) + (1 << 35).to_bytes(8, "little") + bytes(8)
    with pytest.raises(ValueError, match="its directory has 34,359,738,368 bytes"):
        read(io.BytesIO(more + data[end:]))


def test_names_say_the_format(tmp_path):
    Sam.from_pretrained("nano").save_pretrained(tmp_path / "nano")
    path = tmp_path / "sam.pth"
    path.write_bytes((tmp_path / "nano" / "model.safetensors").read_bytes())
    with pytest.raises(ValueError, match=r"sam.pth: it is a safetensors file: let its name end in"):
        Sam.from_pretrained(path)


def strided(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same values, lying otherwise in memory, as after transposing or ``channels_last``."""

    def other(tensor: torch.Tensor) -> torch.Tensor:
        axes = tuple(reversed(range(tensor.ndim)))
        return tensor.permute(axes).contiguous().permute(axes) if tensor.ndim > 1 else tensor

    return {name: other(tensor) for name, tensor in state.items()}


def test_weights_lie_in_memory_as_a_conversions_do(small, tmp_path):
    """Products of transposed matrices are rounded otherwise: logits were 1e-5 apart."""
    state = strided(small[0].state_dict())
    assert not state["image_encoder.blocks.0.attn.qkv.weight"].is_contiguous()
    torch.save(state, tmp_path / "sam.pth")
    torch.save({n: t.half() for n, t in state.items()}, tmp_path / "half.pth")
    assert convert([str(tmp_path / "sam.pth"), str(tmp_path / "native")]) == 0
    loaded = Sam.from_pretrained(tmp_path / "sam.pth")
    native = Sam.from_pretrained(tmp_path / "native")
    others = [
        Sam.from_pretrained(tmp_path / "half.pth", dtype="float32"),
        Sam.from_pretrained(tmp_path / "sam.pth", image_size=64),
        Sam.from_pretrained(tmp_path / "sam.pth", quantize=8),
    ]
    for model in (loaded, native, *others):
        lying = [n for n, w in weights_of(model).items() if not memoryview(w).c_contiguous]
        assert lying == []
    x = mx.random.normal((1, 128, 128, 3))
    assert mx.array_equal(loaded.encode_image(x), native.encode_image(x))
    logits = [
        m.predict_masks(m.encode_image(x), boxes=mx.array([[9.0, 9, 90, 80]]))[0]
        for m in (loaded, native)
    ]
    assert mx.array_equal(*logits)
