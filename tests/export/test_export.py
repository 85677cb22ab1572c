"""Exported files: equal to ``SamPredictor``, whole or absent, no more than five axes."""

import hashlib
import json
from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from sam_mlx import Sam, SamPredictor
from sam_mlx.cli import main
from sam_mlx.export import export, graphs, schema
from sam_mlx.modeling.instance_decoder import InstanceDecoderConfig
from sam_mlx.modeling.layers import weights_of
from sam_mlx.registry import VARIANTS, with_decoder
from sam_mlx.transforms import apply_boxes, apply_coords, resize_image
from tests.support.graph import above_rank, traced_shapes
from tests.support.hq import with_hq
from tests.support.models import SMALL, random_sam

SIZE = (45, 70)  # of an original image that masks are exported for
S, L = SMALL.image_size, SMALL.mask_size


@pytest.fixture(scope="module")
def model(small_sam) -> Sam:
    return small_sam


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "out"
    export(model, folder, points=[1, 4, 12], sizes=[SIZE])
    return folder


@pytest.fixture(scope="module")
def functions(folder):
    return {file.stem: mx.import_function(str(file)) for file in folder.glob("*.mlxfn")}


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)


def encode(functions, image: np.ndarray, dtype=np.uint8) -> tuple[mx.array, mx.array]:
    """The exported encoder on a picture with garbage around it; and its input_size."""
    size = [max(1, int(side * S / max(image.shape[:2]) + 0.5)) for side in image.shape[:2]]
    square = np.random.default_rng(1).integers(0, 256, (1, S, S, 3)).astype(dtype)
    square[0, : size[0], : size[1]] = resize_image(image, tuple(size))
    input_size = mx.array(size, mx.int32)
    return functions["encoder"](mx.array(square), input_size)[0], input_size


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("size", [(128, 128), (60, 97), (210, 130), (500, 3)])
def test_encoder_gives_what_set_image_gives(model, functions, size, dtype):
    predictor = SamPredictor(model)
    predictor.set_image(picture(*size))
    features, _ = encode(functions, picture(*size), dtype)
    # Measured 0 on CPU with MLX 0.32.4; 4e-6 with 0.31.1, which fuses GELU differently.
    assert np.abs(np.array(features) - np.array(predictor.features)).max() <= 1e-5


def prompts() -> list:
    """Slots, points, box. With twelve slots the decoder does not fold, with few points it does."""
    found = [(N, k, box) for N in (1, 4) for box in (0, 1) for k in range(N - 2 * box + 1)]
    found += [(12, 0, 0), (12, 1, 0), (12, 5, 1), (12, 8, 1), (12, 10, 1), (12, 12, 0)]
    return [pytest.param(*p, id="{}slots-{}points-{}box".format(*p)) for p in found]


@pytest.mark.parametrize("masked", [False, True], ids=["", "mask"])
@pytest.mark.parametrize("slots, count, box", prompts())
def test_empty_slots_change_nothing(model, functions, slots, count, box, masked):
    size, rng = (60, 97), np.random.default_rng(slots + 10 * count)
    predictor = SamPredictor(model)
    predictor.set_image(picture(*size))
    features, input_size = encode(functions, picture(*size))
    prompt = {}
    coords, labels = np.full((slots, 2), np.nan), np.full(slots, -1)
    order = rng.permutation(slots)  # which slots are used does not matter either
    if count:
        xy, kinds = rng.uniform((0, 0), size[::-1], (count, 2)), rng.integers(0, 2, count)
        prompt |= {"point_coords": xy, "point_labels": kinds}
        coords[order[:count]] = apply_coords(xy, size, S)
        labels[order[:count]] = kinds
    if box:
        corners = np.array([12, 8, 80.5, 50])
        prompt["box"] = corners
        used = order[count : count + 2]
        coords[used] = apply_boxes(corners, size, S).reshape(2, 2)
        labels[used] = 2, 3
    arrays = [mx.array(coords[None], mx.float32), mx.array(labels[None], mx.int32), input_size]
    if masked:
        prompt["mask_input"] = rng.normal(size=(1, L, L)) * 5
        arrays.append(mx.array(prompt["mask_input"][None], mx.float32))

    masks, scores, stability, areas, low_res = map(
        np.array, functions["decoder"](features, *arrays)
    )
    assert_same(scores[0, 1:], low_res[0, 1:], *predictor.predict(**prompt)[1:])
    single = predictor.predict(**prompt, multimask_output=False)
    assert_same(scores[0, :1], low_res[0, :1], *single[1:])


def assert_same(scores, low_res, expected_scores, expected_low_res):
    """The number of tokens changes the order of additions: measured 2e-6."""
    scale = max(1, np.abs(expected_low_res).max())
    assert np.abs(scores - expected_scores).max() <= 1e-5
    assert np.abs(low_res - expected_low_res).max() <= 1e-5 * scale


@pytest.mark.parametrize("size", [(128, 81), (90, 128)])
def test_masks_in_the_input_frame(model, functions, size):
    """For an image of the frame's size, predict() answers in the same pixels."""
    predictor = SamPredictor(model)
    predictor.set_image(picture(*size))
    features, input_size = encode(functions, picture(*size))
    point = np.array([[40.0, 60.0]])
    masks, scores, stability, areas, _ = map(
        np.array,
        functions["decoder"](
            features, mx.array(point[None], mx.float32), mx.array([[1]], mx.int32), input_size
        ),
    )
    logits = predictor.predict(point, [1], return_logits=True)[0]
    check_masks(masks[0, 1:, : size[0], : size[1]], stability[0, 1:], areas[0, 1:], logits)
    assert not masks[..., size[0] :, :].any() and not masks[..., size[1] :].any()


def test_masks_at_an_original_size(model, functions):
    predictor = SamPredictor(model)
    predictor.set_image(picture(*SIZE))
    logits, _, low_res = predictor.predict([[30, 20]], [1], return_logits=True)
    for i in range(3):
        masks, stability, areas = functions["masks_45x70"](mx.array(low_res[None, i : i + 1]))
        check_masks(*(np.array(x[0]) for x in (masks, stability, areas)), logits[i : i + 1])


def check_masks(masks, stability, areas, logits):
    clear = np.abs(logits) > 1e-5 * np.abs(logits).max()
    assert clear.mean() > 0.99 and 0.05 < masks.mean() < 0.95
    assert np.array_equal(masks[clear], (logits > 0)[clear])
    assert np.array_equal(areas, masks.sum((1, 2)))
    expected = (logits > 1).sum((1, 2)) / (logits > -1).sum((1, 2))
    assert np.abs(stability - expected).max() < 2e-3 and (expected < 0.99).any()


def test_export_json_describes_the_files(model, folder, functions):
    written = json.loads((folder / "export.json").read_text())
    assert set(written["files"]) == {f.name for f in folder.glob("*.mlxfn")}
    assert set(written["files"]) == {"encoder.mlxfn", "decoder.mlxfn", "masks_45x70.mlxfn"}
    assert written["mlx"]["version"] == mx.__version__
    assert written["device"]["kind"] == "cpu" or mx.default_device().type == mx.gpu
    assert "does not run on another" in written["device"]["note"]
    assert written["config"] == json.loads(json.dumps(model.config.to_dict()))
    assert written["points"] == [1, 4, 12]
    for name, file in written["files"].items():
        data = (folder / name).read_bytes()
        assert hashlib.sha256(data).hexdigest() == file["sha256"] and len(data) == file["bytes"]
        for trace in file["traces"]:
            inputs = [mx.zeros(t["shape"], getattr(mx, t["dtype"])) for t in trace["inputs"]]
            outputs = functions[name.split(".")[0]](*inputs)
            for tensor, array in zip(trace["outputs"], outputs, strict=True):
                assert list(array.shape) == tensor["shape"]
                assert str(array.dtype) == "mlx.core." + tensor["dtype"]
    names = [t["name"] for t in written["files"]["decoder.mlxfn"]["traces"][0]["outputs"]]
    assert names == ["masks", "scores", "stability_scores", "areas", "low_res_masks"]
    assert len(written["files"]["decoder.mlxfn"]["traces"]) == 2 * 3


@pytest.mark.slow
def test_slot_counts_share_the_weights(tmp_path):
    model = Sam(replace(SMALL, decoder_mlp_dim=8192))  # weights that outweigh the graphs
    weights = sum(w.nbytes for _, w in tree_flatten(model.mask_decoder.parameters()))
    for name, points in ("one", 4), ("three", [1, 4, 12]):
        export(model, tmp_path / name, points=points)
    one, three = ((tmp_path / n / "decoder.mlxfn").stat().st_size for n in ("one", "three"))
    assert weights < one and three - one < weights / 4


@pytest.mark.slow
def test_half_precision(model, tmp_path):
    written = export(model, tmp_path / "half", dtype="float16", points=2)
    assert written["dtype"] == "float16"
    assert model.dtype == mx.float32
    embedding = written["files"]["encoder.mlxfn"]["traces"][0]["outputs"][0]
    assert embedding["dtype"] == "float16"


def test_no_array_has_more_than_five_axes():
    """In ViT-B's real sizes; its twelve blocks are of only two kinds."""
    config = VARIANTS["vit_b"]
    config = replace(config, encoder=replace(config.encoder, depth=2, global_blocks=(1,)))
    model = Sam(config)
    mx.eval(model.parameters())
    files = [
        (graphs.image_encoder(model), schema.encoder_traces(model)),
        (graphs.mask_decoder(model), schema.decoder_traces(model, [1, 4])),
        (graphs.mask_upscaler(config, (1200, 1800)), schema.upscaler_traces(config, (1200, 1800))),
    ]
    for function, traces in files:
        for trace in traces:
            inputs = [mx.zeros(t.shape, t.dtype) for t in trace.inputs]
            shapes = traced_shapes(function, *inputs)
            assert trace.outputs[0].shape in {shape for _, shape in shapes}
            assert above_rank(shapes) == []


def unmasked_slots(coords, labels):
    coords = mx.where((labels < 0)[..., None], 0, coords)
    return mx.concatenate([coords, mx.zeros((1, 1, 2))], axis=1), mx.concatenate(
        [labels, mx.full((1, 1), -1)], axis=1
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, broken",
    [
        ("slots", unmasked_slots),
        ("inside_image", lambda input_size, config: mx.ones((128, 128), dtype=mx.bool_)),
        ("measure", lambda logits, inside=True: (logits > 0.5, *[mx.zeros((1, 4))] * 2)),
    ],
)
def test_files_that_differ_are_not_kept(model, tmp_path, monkeypatch, name, broken):
    monkeypatch.setattr(graphs, name, broken)
    with pytest.raises(RuntimeError, match="differ.*SamPredictor"):
        export(model, tmp_path / "out", points=4)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "options, message",
    [
        ({"points": 0}, "points is 0"),
        ({"points": [4, -1]}, "at least 1"),
        ({"points": []}, "at least 1"),
        ({"points": 2.5}, "points is 2.5"),
        ({"points": 10**9}, "points is 1000000000; .*at most 1024"),
        ({"points": [4, True]}, "at least 1"),
        ({"points": 10**400}, "at most 1024"),
        ({"points": {}}, "at least 1"),
        ({"points": "44"}, "at least 1"),
        ({"sizes": [(0, 5)]}, "height, width"),
        ({"sizes": [(10**6, 10**6)]}, "268435456 pixels or fewer"),
        ({"sizes": [(10**400, 1)]}, "height, width"),
        ({"sizes": [5]}, "height, width"),
        ({"sizes": [{}]}, "height, width"),
        ({"sizes": 5}, "sizes is 5; expected a list"),
        ({"sizes": "ab"}, "sizes is 'ab'; expected a list"),
        ({"dtype": []}, r"dtype is \[\]; expected one of"),
        ({"quantize": [8]}, r"quantize is \[8\]; expected 8"),
        ({"image_size": {}}, "image_size is {}; expected a whole number"),
        ({"sizes": [(5,)]}, "height, width"),
        ({"dtype": "float64"}, "float32, float16, bfloat16"),
        ({"dtype": mx.int8}, "float32, float16, bfloat16"),
    ],
)
def test_bad_arguments(model, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        export(model, tmp_path / "out", **options)
    assert list(tmp_path.iterdir()) == []


def test_existing_and_unwritable_output(model, tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(FileExistsError, match="already exists"):
        export(model, file)
    with pytest.raises(OSError, match="cannot write .*file: File exists"):
        export(model, file / "out")
    assert file.read_text() == "mine" and list(tmp_path.iterdir()) == [file]


def test_a_device_that_cannot_run_the_dtype(model, tmp_path, monkeypatch):
    def refuse(path):
        raise RuntimeError("[metal] unsupported type")

    monkeypatch.setattr(mx, "import_function", refuse)
    with pytest.raises(RuntimeError, match="float16.*none was kept.*unsupported type"):
        export(model, tmp_path / "out", dtype="float16")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_command(model, tmp_path, capsys):
    model.save_pretrained(tmp_path / "model")
    out = tmp_path / "out"
    arguments = ["--points", "1", "3", "--sizes", "30x50", "--dtype", "float32"]
    assert main(["export", str(tmp_path / "model"), str(out), *arguments]) == 0
    assert {f.name for f in out.iterdir()} == {
        "encoder.mlxfn", "decoder.mlxfn", "masks_30x50.mlxfn", "export.json",
    }  # fmt: skip
    printed = capsys.readouterr().out
    assert "does not run on another" in printed and mx.__version__ in printed
    assert json.loads((out / "export.json").read_text())["model"] == str(tmp_path / "model")


@pytest.mark.parametrize(
    "arguments",
    [
        ["nano", "."],
        ["./no/such/model", "out"],
        ["nosuchmodel", "out"],
        ["nano", "out", "--points", "0"],
    ],
)
def test_command_with_bad_input(tmp_path, monkeypatch, capsys, arguments):
    monkeypatch.chdir(tmp_path)
    assert main(["export", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("sam-mlx export: ") and captured.err.count("\n") == 1
    assert captured.out == "" and list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_every_step_is_shown(model, tmp_path, monkeypatch):
    """float16 of ViT-B took eleven silent minutes on a CPU; writing takes a second of them."""
    shown, totals = [], []

    class Bar:
        def __init__(self, total, **_):
            totals.append(total)

        def set_description(self, text):
            shown.append(text)

        def update(self, count):
            assert count == (len(shown) > 0)

        def close(self):
            shown.append("closed")

    monkeypatch.setattr("sam_mlx.export.steps.tqdm", Bar)
    export(model, tmp_path / "out", points=[1, 2], sizes=[SIZE])
    assert shown.pop() == "closed"
    assert len(shown) == totals[0] and shown[:2] == ["load the model", "write encoder.mlxfn"]
    assert shown[-2:] == ["check: decoder with 2 slots", "check: masks_45x70"]


@pytest.mark.slow
def test_sam_hq(tmp_path):
    """Two arrays go from file to file; the best of the alternatives is what predict() chooses."""
    model = random_sam(with_hq(SMALL))
    written = export(model, tmp_path / "out", points=[1, 4], sizes=[SIZE])
    assert written["features"]["names"] == ["image_embeddings", "hq_features"]
    functions = {f.stem: mx.import_function(str(f)) for f in (tmp_path / "out").glob("*.mlxfn")}
    predictor = SamPredictor(model)
    predictor.set_image(picture(60, 97))
    square = np.zeros((1, S, S, 3), np.uint8)
    height, width = predictor.input_size
    square[0, :height, :width] = resize_image(picture(60, 97), (height, width))
    input_size = mx.array([height, width], mx.int32)
    features = functions["encoder"](mx.array(square), input_size)
    point = apply_coords(np.array([[40.0, 30.0]]), (60, 97), S)
    slots = mx.array(point[None], mx.float32), mx.array([[1]], mx.int32)
    _, scores, _, _, low_res = map(np.array, functions["decoder"](*features, *slots, input_size))
    assert scores.shape == (1, 4)
    single = predictor.predict([[40, 30]], [1], multimask_output=False)
    assert_same(scores[0, :1], low_res[0, :1], *single[1:])
    best = 1 + scores[0, 1:].argmax()
    chosen = slice(best, best + 1)
    assert_same(scores[0, chosen], low_res[0, chosen], *predictor.predict([[40, 30]], [1])[1:])


@pytest.mark.slow
def test_an_instance_decoder_is_left_out_and_named(tmp_path, capsys):
    """As in micro-sam's models; encoder and mask decoder are those of the same model without it."""
    model = random_sam(SMALL)
    both = Sam(with_decoder(SMALL, InstanceDecoderConfig(4)))
    both.load_weights(list(weights_of(model).items()), strict=False)
    both.save_pretrained(tmp_path / "both")
    assert main(["export", str(tmp_path / "both"), str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "Left out: the decoder for instances; it runs in Python only." in said
    written = json.loads((tmp_path / "out" / "export.json").read_text())
    plain = export(model, tmp_path / "plain")
    assert written["left_out"] == ["instances"] and plain["left_out"] == []
    assert written["files"].keys() == plain["files"].keys()
    for name, file in plain["files"].items():
        assert written["files"][name]["traces"] == file["traces"]
    image, size = mx.array(picture(S, S)[None]), mx.array([S, S], mx.int32)
    ours, theirs = (
        mx.import_function(str(tmp_path / name / "encoder.mlxfn"))(image, size)[0]
        for name in ("out", "plain")
    )
    assert mx.array_equal(ours, theirs)
