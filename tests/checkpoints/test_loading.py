"""Every format that loads without torch, and every way a checkpoint can be wrong."""

import json
import shutil
import subprocess
import sys

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten
from safetensors.numpy import save_file

from sam_mlx import Sam, sam_model_registry
from sam_mlx.checkpoints import sizes
from sam_mlx.checkpoints.families import parse_config
from sam_mlx.checkpoints.options import DTYPES
from sam_mlx.registry import VARIANTS
from tests.support import models
from tests.support.checkpoints import broken, equal


def arrays_of(original) -> dict[str, np.ndarray]:
    """The tensors of an original, by name."""
    return {name: tensor.numpy() for name, tensor in original.state_dict().items()}


@pytest.fixture
def native(small_sam, tmp_path):
    small_sam.save_pretrained(tmp_path / "native")
    return tmp_path / "native"


def test_native_round_trip(small_sam, native):
    loaded = Sam.from_pretrained(native)
    equal(loaded, small_sam)
    assert loaded.config == small_sam.config
    assert sorted(p.name for p in native.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]


def test_meta_names_in_safetensors(small, tmp_path):
    reference, model = small
    save_file(arrays_of(reference), tmp_path / "meta.safetensors")
    # Without a config every size is read off the tensors.
    loaded = Sam.from_pretrained(tmp_path / "meta.safetensors")
    assert loaded.config.encoder == model.config.encoder
    equal(loaded, model)
    (tmp_path / "folder").mkdir()
    shutil.move(tmp_path / "meta.safetensors", tmp_path / "folder" / "anything.safetensors")
    equal(Sam.from_pretrained(tmp_path / "folder"), model)


@pytest.mark.parametrize("variant", ["vit_b", "vit_l", "vit_h"])
def test_variant_is_inferred_from_shapes(variant):
    class Shape:
        def __init__(self, shape):
            self.shape = shape

    model = Sam(VARIANTS[variant])  # lazy: no memory is touched
    shapes = {name: Shape(w.shape) for name, w in tree_flatten(model.parameters())}
    for name, module in model.named_modules():
        kernel = f"{name}.weight"
        if kernel in shapes and len(shapes[kernel].shape) == 4:
            o, h, w, i = shapes[kernel].shape
            transposed = "Transpose" in type(module).__name__
            shapes[kernel] = Shape((i, o, h, w) if transposed else (o, i, h, w))
    assert sizes.infer(shapes) is VARIANTS[variant]


@pytest.mark.parametrize(
    ("variant", "parameters"),
    [("vit_b", 93_735_472), ("vit_l", 312_342_832), ("vit_h", 641_090_608)],
)
def test_number_of_parameters(variant, parameters):
    model = Sam(VARIANTS[variant])
    # The published counts leave out the 256 fixed frequencies, a buffer.
    assert sum(w.size for _, w in tree_flatten(model.parameters())) == parameters + 256


def test_dtype(small_sam, native):
    for name, dtype in DTYPES.items():
        model = Sam.from_pretrained(native, dtype=name)
        assert model.dtype == dtype
        dtypes = {n: w.dtype for n, w in tree_flatten(model.parameters())}
        frequencies = "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
        assert dtypes.pop(frequencies) == mx.float32
        assert set(dtypes.values()) == {dtype}
    with pytest.raises(ValueError, match="float64.*float32, float16, bfloat16"):
        Sam.from_pretrained(native, dtype="float64")


def test_everything_is_evaluated_for_other_threads(native):
    from concurrent.futures import ThreadPoolExecutor

    model = Sam.from_pretrained(native)
    with ThreadPoolExecutor(1) as pool:
        image = np.zeros((1, 128, 128, 3), np.float32)
        embedding = pool.submit(lambda: np.array(model.encode_image(mx.array(image)))).result()
    assert np.isfinite(embedding).all()


def test_registry(tmp_path, small_sam):
    assert sam_model_registry.keys() >= {"default", "vit_b", "vit_l", "vit_h"}
    small_sam.save_pretrained(tmp_path / "small")
    with pytest.raises(ValueError, match="custom, not vit_b"):
        sam_model_registry["vit_b"](checkpoint=tmp_path / "small")


def test_missing_extra_and_misshapen_tensors_are_all_named(native):
    def change(weights):
        del weights["image_encoder.neck.0.weight"]
        del weights["mask_decoder.iou_token.weight"]
        weights["image_encoder.extra"] = mx.zeros((2,))
        weights["image_encoder.pos_embed"] = mx.zeros((1, 2, 2, 48))

    message = broken(native, change)
    for part in (
        "missing image_encoder.neck.0.weight",
        "missing mask_decoder.iou_token.weight",
        "unknown image_encoder.extra (2,)",
        "image_encoder.pos_embed has shape (1, 2, 2, 48), expected (1, 16, 16, 48)",
    ):
        assert part in message


def test_sam_hq_is_named_as_unknown(native):
    message = broken(
        native, lambda w: w.update({"mask_decoder.hf_token.weight": mx.zeros((1, 64))})
    )
    assert "unknown mask_decoder.hf_token.weight" in message


def test_truncated_and_corrupt_safetensors(native):
    file = native / "model.safetensors"
    whole = file.read_bytes()
    for damaged in (whole[:-100], whole[: len(whole) // 2], b"", b"not safetensors at all" * 9):
        file.write_bytes(damaged)
        with pytest.raises(ValueError, match="not a whole safetensors file"):
            Sam.from_pretrained(native)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "config.json"),
        ("[]", "config.json"),
        ('{"model_type": "bert"}', "'bert'"),
        ('{"model_type": "sam2"}', "SAM 2"),
        ('{"model_type": "sam_mlx"}', "encoder"),
        ('{"model_type": "sam_mlx", "encoder": {"dim": 8}}', "missing"),
    ],
)
def test_config_of_another_model(native, config, message):
    (native / "config.json").write_text(config)
    with pytest.raises(ValueError, match=message):
        Sam.from_pretrained(native)


def test_config_with_an_unknown_field(native):
    values = json.loads((native / "config.json").read_text())
    (native / "config.json").write_text(json.dumps({**values, "depht": 3}))
    with pytest.raises(ValueError, match="depht"):
        Sam.from_pretrained(native)


def test_hugging_face_defaults():
    assert parse_config({"model_type": "sam"}) is VARIANTS["vit_b"]
    with pytest.raises(ValueError, match="use_rel_pos"):
        parse_config({"model_type": "sam", "vision_config": {"use_rel_pos": False}})


def test_nothing_there(tmp_path, monkeypatch):
    for name in ("./nothing", str(tmp_path / "no" / "where"), "model.safetensors", "a/b/c"):
        with pytest.raises(FileNotFoundError, match="no such file or folder"):
            Sam.from_pretrained(name)
    with pytest.raises(FileNotFoundError, match="facebook/sam-vit-base"):
        Sam.from_pretrained("vit_b")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="holds no .safetensors"):
        Sam.from_pretrained(tmp_path / "empty")


def test_several_models_in_a_folder(small, tmp_path):
    for name in ("a", "b"):
        save_file(arrays_of(small[0]), tmp_path / f"{name}.safetensors")
    with pytest.raises(ValueError, match=r"several models \(a.safetensors, b.safetensors\)"):
        Sam.from_pretrained(tmp_path)


def test_save_refuses_to_overwrite(small_sam, native):
    before = {p.name: p.stat().st_mtime_ns for p in native.iterdir()}
    with pytest.raises(FileExistsError, match="already exists"):
        small_sam.save_pretrained(native)
    assert before == {p.name: p.stat().st_mtime_ns for p in native.iterdir()}


def test_failed_save_leaves_nothing(small_sam, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(mx, "save_safetensors", fail)
    with pytest.raises(OSError, match="disk full"):
        small_sam.save_pretrained(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


class TestHub:
    """The hub's own offline behaviour replaces the network: with a cache, and without."""

    @pytest.fixture(autouse=True)
    def offline(self, tmp_path, monkeypatch):
        from huggingface_hub import constants

        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        self.cache = tmp_path / "cache"

    def put(self, model: Sam, revision: str, commit: str) -> None:
        repo = self.cache / "models--someone--sam"
        (repo / "refs").mkdir(parents=True, exist_ok=True)
        (repo / "refs" / revision).write_text(commit)
        (repo / "snapshots").mkdir(exist_ok=True)
        model.save_pretrained(repo / "snapshots" / commit)

    def test_cached_repository_loads_offline(self, small_sam, native):
        self.put(small_sam, "main", "a" * 40)
        equal(Sam.from_pretrained("someone/sam"), small_sam)

    def test_revision(self, small_sam):
        self.put(small_sam, "main", "a" * 40)
        other = models.random_sam(models.SMALL, seed=7)
        self.put(other, "v2", "b" * 40)
        equal(Sam.from_pretrained("someone/sam", revision="v2"), other)
        with pytest.raises(FileNotFoundError, match="someone/sam at revision v3"):
            Sam.from_pretrained("someone/sam", revision="v3")

    def test_neither_cache_nor_network(self):
        with pytest.raises(FileNotFoundError, match="hub cannot be reached"):
            Sam.from_pretrained("facebook/sam-vit-base")


def test_loading_draws_no_random_numbers():
    mx.random.seed(3)
    expected = mx.random.uniform(shape=(2,)).tolist()
    mx.random.seed(3)
    Sam.from_pretrained("nano")
    assert mx.random.uniform(shape=(2,)).tolist() == expected


LOADS = """
import gc
from sam_mlx import Sam

sizes = []
for i in range(100):
    Sam.from_pretrained("nano")
    if i % 79 == 20:
        gc.collect()
        sizes.append(int(open("/proc/self/statm").read().split()[1]) * 4096 / 1e6)
print(sizes[1] - sizes[0])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_many_loads_take_the_memory_of_one():
    """Each used to leave 0.35 MB: random numbers that waited for their predecessors."""
    done = subprocess.run([sys.executable, "-c", LOADS], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 5  # MB in 79 loads; it was 28


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(native, value):
    weights = dict(mx.load(str(native / "model.safetensors")))
    name = "mask_decoder.iou_token.weight"
    weights[name] = mx.where(mx.arange(weights[name].shape[1]) == 3, value, weights[name])
    mx.save_safetensors(str(native / "model.safetensors"), weights, {"format": "mlx"})
    with pytest.raises(ValueError, match=f"NaN or infinite values in 1 tensors, such as {name}"):
        Sam.from_pretrained(native)


def test_weights_that_are_whole_numbers_are_refused(native):
    name = "mask_decoder.iou_token.weight"
    text = broken(native, lambda weights: weights.update({name: weights[name].astype(mx.int32)}))
    assert f"{name} has type mlx.core.int32, expected floats" in text
