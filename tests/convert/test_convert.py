"""``python -m convert``: what it accepts, what it refuses, and that it leaves nothing behind."""

import hashlib
import os
import subprocess
import sys

import mlx.core as mx
import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")

from convert import __main__ as convert
from sam_mlx import Sam
from sam_mlx.registry import VARIANTS
from tests.support.checkpoints import equal

pytestmark = pytest.mark.original


@pytest.fixture(scope="module")
def state(small):
    return small[0].state_dict()


def run(*arguments) -> int:
    return convert.main([str(a) for a in arguments])


@pytest.mark.parametrize("suffix", [".pth", ".pt"])
@pytest.mark.parametrize("prefix", ["", "module.", "sam.", "module.sam.", "sam.module."])
@pytest.mark.parametrize("wrapper", [None, "model", "state_dict", "model_state_dict"])
def test_fine_tunes(small, state, tmp_path, wrapper, prefix, suffix):
    wrapped = {prefix + name: w for name, w in state.items()}
    torch.save({wrapper: wrapped, "epoch": 3} if wrapper else wrapped, tmp_path / f"sam{suffix}")
    assert run(tmp_path / f"sam{suffix}", tmp_path / "out") == 0
    equal(Sam.from_pretrained(tmp_path / "out"), small[1])


def test_stored_pixel_statistics_are_dropped(small, state, tmp_path):
    extra = {"pixel_mean": torch.zeros(3, 1, 1), "pixel_std": torch.ones(3, 1, 1)}
    torch.save({**state, **extra}, tmp_path / "sam.pth")
    assert run(tmp_path / "sam.pth", tmp_path / "out") == 0
    equal(Sam.from_pretrained(tmp_path / "out"), small[1])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_dtype_and_its_check(state, tmp_path, photograph, dtype):
    torch.save(state, tmp_path / "sam.pth")
    Image.fromarray(photograph).save(tmp_path / "photograph.png")
    check = ["--dtype", dtype, "--check", tmp_path / "photograph.png"]
    assert run(tmp_path / "sam.pth", tmp_path / "out", *check) == 0
    assert str(Sam.from_pretrained(tmp_path / "out").dtype) == f"mlx.core.{dtype}"


@pytest.mark.parametrize("acts", [False, True])
def test_tf32_widens_the_bounds_where_it_acts(
    acts, state, tmp_path, photograph, monkeypatch, capsys
):
    for module in ("convert.__main__", "convert.parity"):
        monkeypatch.setattr(f"{module}.uses_tf32", lambda: acts)
    Image.fromarray(photograph).save(tmp_path / "photograph.png")
    torch.save(state, tmp_path / "sam.pth")
    assert run(tmp_path / "sam.pth", tmp_path / "out", "--check", tmp_path / "photograph.png") == 0
    said = capsys.readouterr().out
    assert ("Float32 products are TF32 on this device" in said) == acts
    assert ("relative 1e-01" in said) == acts  # the bounds of half precision


def test_bfloat16_checkpoint(state, tmp_path):
    torch.save({name: w.bfloat16() for name, w in state.items()}, tmp_path / "sam.pth")
    assert run(tmp_path / "sam.pth", tmp_path / "out") == 0
    model = Sam.from_pretrained(tmp_path / "out")
    assert model.dtype == mx.bfloat16
    ours = np.array(model.image_encoder.pos_embed.astype(mx.float32))
    expected = state["image_encoder.pos_embed"].bfloat16().float().numpy()
    np.testing.assert_array_equal(ours, expected)


def refused(capsys, tmp_path, *arguments) -> str:
    """Run, expect exit code 2 and an untouched folder; return what was printed."""
    before = sorted(os.listdir(tmp_path))
    assert run(*arguments) == 2
    assert sorted(os.listdir(tmp_path)) == before
    return capsys.readouterr().err


def test_existing_output_is_refused(state, tmp_path, capsys):
    torch.save(state, tmp_path / "sam.pth")
    (tmp_path / "out").mkdir()
    assert "already exists" in refused(capsys, tmp_path, tmp_path / "sam.pth", tmp_path / "out")


def test_missing_checkpoint(tmp_path, capsys):
    message = refused(capsys, tmp_path, tmp_path / "none.pth", tmp_path / "out")
    assert "no such checkpoint" in message


def test_official_name_with_other_bytes(state, tmp_path, capsys):
    torch.save(state, tmp_path / "sam_vit_b_01ec64.pth")
    message = refused(capsys, tmp_path, tmp_path / "sam_vit_b_01ec64.pth", tmp_path / "out")
    assert convert.OFFICIAL["sam_vit_b_01ec64.pth"] in message and "download it again" in message


def test_official_digest_accepts_the_published_bytes(state, tmp_path, monkeypatch):
    file = tmp_path / "sam_vit_b_01ec64.pth"
    torch.save(state, file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    monkeypatch.setitem(convert.OFFICIAL, file.name, digest)
    assert run(file, tmp_path / "out") == 0


class Malicious:
    def __reduce__(self):
        return os.mkdir, ("executed",)


def test_a_pickle_runs_no_code(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"a": Malicious()}, tmp_path / "sam.pth")
    message = refused(capsys, tmp_path, tmp_path / "sam.pth", tmp_path / "out")
    assert "holds no named tensors" in message and not (tmp_path / "executed").exists()


@pytest.mark.parametrize("keep", [0, 10, 0.5, -50])
def test_truncated_file(state, tmp_path, capsys, keep):
    torch.save(state, tmp_path / "sam.pth")
    whole = (tmp_path / "sam.pth").read_bytes()
    (tmp_path / "sam.pth").write_bytes(whole[: int(keep * len(whole)) if keep == 0.5 else keep])
    message = refused(capsys, tmp_path, tmp_path / "sam.pth", tmp_path / "out")
    assert "sam.pth" in message and "\n" not in message.strip()


@pytest.mark.parametrize("content", [[1, 2], {"a": 3}, {"weights": {"a": 1}}])
def test_no_state_dict(tmp_path, capsys, content):
    torch.save(content, tmp_path / "sam.pth")
    message = refused(capsys, tmp_path, tmp_path / "sam.pth", tmp_path / "out")
    assert "holds no named tensors" in message


@pytest.mark.filterwarnings("ignore::UserWarning")  # PyTorch's, about deprecated and beta features
@pytest.mark.parametrize(
    "change",
    [
        torch.Tensor.to_sparse,
        torch.Tensor.to_sparse_csr,
        lambda w: w.to("meta"),
        lambda w: torch.quantize_per_tensor(w, 0.1, 0, torch.qint8),
        lambda w: w.to(torch.float8_e4m3fn),
        lambda w: torch.conj(w.to(torch.complex64)),
        lambda w: w > 0,
    ],
    ids=["sparse", "csr", "meta", "quantised", "float8", "conjugate", "bool"],
)
def test_tensors_without_plain_values(state, tmp_path, capsys, change):
    name = "mask_decoder.iou_token.weight"
    torch.save(state | {name: change(state[name])}, tmp_path / "sam.pth")
    error = refused(capsys, tmp_path, tmp_path / "sam.pth", tmp_path / "out")
    assert name in error and error.count("\n") == 1
    with pytest.raises(ValueError, match=r"iou_token|float8|conj"):
        Sam.from_pretrained(tmp_path / "sam.pth")


def test_not_sam(tmp_path, capsys):
    torch.save({"layer.weight": torch.zeros(3, 3)}, tmp_path / "sam.pth")
    message = refused(capsys, tmp_path, tmp_path / "sam.pth", tmp_path / "out")
    assert "not a SAM checkpoint" in message


def test_missing_tensor(state, tmp_path, capsys):
    torch.save(
        {k: v for k, v in state.items() if k != "mask_decoder.iou_token.weight"}, tmp_path / "s.pt"
    )
    message = refused(capsys, tmp_path, tmp_path / "s.pt", tmp_path / "out")
    assert "missing mask_decoder.iou_token.weight" in message


def test_exceeded_bound(state, tmp_path, capsys, photograph, monkeypatch):
    torch.save(state, tmp_path / "sam.pth")
    Image.fromarray(photograph).save(tmp_path / "photograph.png")
    monkeypatch.setitem(convert.parity.ABSOLUTE, "embedding", 1e-9)
    before = sorted(os.listdir(tmp_path))
    assert run(tmp_path / "sam.pth", tmp_path / "out", "--check", tmp_path / "photograph.png") == 1
    assert sorted(os.listdir(tmp_path)) == before
    output = capsys.readouterr()
    assert "FAILED" in output.out and "was not written" in output.err


def test_unreadable_check_image_leaves_nothing(state, tmp_path, capsys):
    torch.save(state, tmp_path / "sam.pth")
    (tmp_path / "no.png").write_bytes(b"nothing")
    check = ["--check", tmp_path / "no.png"]
    assert "cannot read" in refused(
        capsys, tmp_path, tmp_path / "sam.pth", tmp_path / "out", *check
    )


def test_official_digests_belong_to_known_variants():
    meta = convert.OFFICIAL.keys() - {"mobile_sam.pt"}
    assert {name.removeprefix("sam_").rsplit("_", 1)[0] for name in meta} <= VARIANTS.keys()


@pytest.mark.parametrize("arguments", [[], ["--help"], ["sam.pth", "out", "--check", "a.png"]])
def test_without_torch_it_says_what_to_install(arguments):
    program = (
        "import sys, runpy; sys.modules['torch'] = None; "
        "runpy.run_module('convert', run_name='__main__', alter_sys=True)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "PyTorch is needed here: pip install -e '.[convert]'" in done.stderr


@pytest.mark.parametrize("package", ["segment_anything", "transformers", "timm", "peft"])
def test_without_the_original_check_says_what_to_install(package, monkeypatch):
    from convert import reference

    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setitem(sys.modules, f"{package}.models.tiny_vit", None)
    monkeypatch.setitem(sys.modules, f"{package}.utils.import_utils", None)
    name = "tiny_vit" if package == "timm" else package
    with pytest.raises(ImportError, match=f"pip install {package.replace('_', '-')}"):
        getattr(reference, f"import_{name}")()


def test_help_omits_empty_defaults(capsys):
    with pytest.raises(SystemExit):
        run("--help")
    text = capsys.readouterr().out
    assert "(default: None)" not in text and "--upload-repo" in text
