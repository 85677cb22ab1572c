"""Everything derived from declared options: checks, flags, settings, signatures."""

import argparse
import copy
import inspect
from dataclasses import dataclass, fields
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from sam_mlx import InstanceSegmenter, Sam, SamAutomaticMaskGenerator, SamPredictor
from sam_mlx.automatic.options import (
    OF_MODEL,
    SELECTING,
    THRESHOLDS,
    GeneratorOptions,
    thresholds_of,
)
from sam_mlx.checkpoints.options import LoadOptions
from sam_mlx.cli import build_parser
from sam_mlx.export import export
from sam_mlx.instances.options import InstanceOptions
from sam_mlx.options import add_flags, check, from_flags, number, option, settings, whole_number
from sam_mlx.registry import VARIANTS


@dataclass
class Example:
    count: int = option(3, "how many", whole_number(1))
    share: float = option(0.5, "how much", number("a number above 0", lambda share: share > 0))
    form: str | None = option(None, "which", choices=("round", "square"), of=str)
    speed: int = option(8, "how fast", whole_number(0), changes_results=False)
    inner: str = option("a", "not for the shell", flag=False)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"count": 0}, "count is 0; expected a whole number from 1"),
        ({"count": 2.0}, "count is 2.0; expected a whole number from 1"),
        ({"count": None}, "count is None; expected a whole number from 1"),
        ({"share": 0}, "share is 0; expected a number above 0"),
        ({"share": float("nan")}, "share is nan"),
        ({"share": "1"}, "share is '1'"),
        ({"form": "oval"}, "form is 'oval'; expected one of round, square"),
    ],
)
def test_the_first_value_that_breaks_its_rule_is_named(values, message):
    check(Example())
    with pytest.raises(ValueError, match=message):
        check(Example(**values))


def test_flags_and_settings():
    parser = argparse.ArgumentParser()
    add_flags(parser, Example)
    with pytest.raises(SystemExit):
        parser.parse_args(["--inner", "b"])
    with pytest.raises(SystemExit):
        parser.parse_args(["--form", "oval"])
    assert from_flags(parser.parse_args([]), Example) == Example()
    args = parser.parse_args(["--count", "7", "--share", "0.25", "--form", "round", "--speed", "1"])
    read = from_flags(args, Example, inner="c")
    assert read == Example(7, 0.25, "round", 1, "c")
    assert settings(read) == {"count": 7, "share": 0.25, "form": "round"}


def parameters(function) -> dict[str, object]:
    return {p.name: p.default for p in inspect.signature(function).parameters.values()}


def flags(command: str) -> dict[str, object]:
    (action,) = (a for a in build_parser()._actions if isinstance(a.choices, dict))
    return {a.dest: a.default for a in action.choices[command]._actions}


def test_thresholds_belong_to_the_model():
    assert set(THRESHOLDS) <= set(VARIANTS)
    assert thresholds_of(VARIANTS["nano"]) == THRESHOLDS["nano"]
    meta = {"pred_iou_thresh": 0.88, "stability_score_thresh": 0.95}
    assert thresholds_of(VARIANTS["vit_b"]) == thresholds_of(VARIANTS["vit_t"]) == meta


def test_the_generators_signature_and_flags_are_the_declaration():
    declared = {f.name: f.default for f in fields(GeneratorOptions)}
    ours = parameters(SamAutomaticMaskGenerator.__init__)
    assert list(ours)[:2] == ["self", "model"]
    # None stands for the model's own.
    expected = {name: None if name in OF_MODEL else value for name, value in declared.items()}
    assert list(ours.items())[2:] == list(expected.items())
    loading = parameters(SamAutomaticMaskGenerator.from_pretrained)
    assert expected.items() <= loading.items()
    shell = flags("auto")
    for name, default in expected.items():
        if name in ("point_grids", "output_mode"):
            assert name not in shell
        else:
            assert shell[name] == default


def test_the_segmenters_signatures_are_the_declaration():
    declared = {f.name: f.default for f in fields(InstanceOptions)}
    assert list(parameters(InstanceSegmenter.__init__).items())[2:] == list(declared.items())
    assert declared.items() <= parameters(InstanceSegmenter.from_pretrained).items()
    selecting = parameters(InstanceSegmenter.select)
    assert {name: selecting[name] for name in declared} == dict.fromkeys(declared)


LOADERS = SamPredictor, SamAutomaticMaskGenerator, InstanceSegmenter, Sam


@pytest.mark.parametrize("kind", LOADERS)
def test_a_misspelled_argument_is_refused_by_the_function_that_was_called(kind):
    """And editors see it: no signature has a catch-all."""
    for function in (kind.__init__, kind.from_pretrained, getattr(kind, "select", kind.__init__)):
        kinds = {p.kind for p in inspect.signature(function).parameters.values()}
        assert inspect.Parameter.VAR_KEYWORD not in kinds
    with pytest.raises(TypeError, match=r"from_pretrained\(\) got an .*'points_per_sid'"):
        kind.from_pretrained("absent", points_per_sid=3)


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (SamAutomaticMaskGenerator, {"pred_iou_thresh": "high"}),
        (SamAutomaticMaskGenerator, {"points_per_side": None}),
        (InstanceSegmenter, {"mode": "amg"}),
        (InstanceSegmenter, {"min_size": -1}),
        (Sam, {"dtype": "int8"}),
    ],
)
def test_wrong_values_are_refused_before_a_model_is_looked_for(kind, given):
    (name,) = given
    with pytest.raises(ValueError, match=name):
        kind.from_pretrained("absent/model", **given)


@pytest.mark.parametrize(
    "function",
    [
        Sam.from_pretrained,
        SamPredictor.from_pretrained,
        SamAutomaticMaskGenerator.from_pretrained,
        InstanceSegmenter.from_pretrained,
        export,
    ],
)
def test_every_way_to_load_a_model_takes_all_options_of_loading(function):
    ours = inspect.signature(function).parameters
    for f in fields(LoadOptions):
        assert ours[f.name].default == f.default
        assert ours[f.name].kind is inspect.Parameter.KEYWORD_ONLY


GIVEN = {
    "dtype": "float16", "quantize": 8, "revision": "v2", "adapter": "folder", "image_size": 64,
    "preprocess": "medsam",
}  # fmt: skip


@pytest.mark.parametrize("kind", LOADERS)
def test_every_option_of_loading_arrives_under_its_name(kind, monkeypatch):
    taken = []

    def load(path, options):
        taken.append((path, options))
        raise FileNotFoundError

    monkeypatch.setattr(Sam, "load", load)
    for values in (GIVEN, GIVEN | {"dtype": mx.float16, "adapter": Path("folder")}):
        with pytest.raises(FileNotFoundError):
            kind.from_pretrained("model", **values)
        assert taken.pop() == ("model", LoadOptions(**GIVEN))
    with pytest.raises(FileNotFoundError):
        kind.from_pretrained("model")
    assert taken.pop() == ("model", LoadOptions())


def test_every_option_of_loading_arrives_in_an_export(monkeypatch, tmp_path):
    taken = []

    def prepare(model, options):
        taken.append((model, options))
        raise FileNotFoundError

    monkeypatch.setattr("sam_mlx.export.prepare", prepare)
    with pytest.raises(FileNotFoundError):
        export("model", tmp_path / "out", **GIVEN)
    assert taken == [("model", LoadOptions(**GIVEN))]


@pytest.mark.parametrize("command", ["predict", "auto", "info", "export"])
def test_every_command_with_a_model_has_all_flags_of_loading(command):
    assert {f.name for f in fields(LoadOptions)} <= flags(command).keys()


def test_the_settings_of_a_run_are_what_its_results_depend_on():
    names = {f.name for f in fields(GeneratorOptions)}
    inert = {"points_per_batch", "output_mode", "point_grids"}  # speed; fixed; not in the shell
    assert settings(GeneratorOptions()).keys() == names - inert
    assert settings(LoadOptions()).keys() == {f.name for f in fields(LoadOptions)}


def test_a_generator_of_8_bits():
    generator = SamAutomaticMaskGenerator.from_pretrained("nano", quantize=8, points_per_side=2)
    from sam_mlx.modeling.layers import is_quantized

    assert is_quantized(generator.predictor.model)
    with pytest.raises(TypeError, match=r"select\(\) got an unexpected .* .points_per_side"):
        generator.select(None, points_per_side=3)
    assert len(SELECTING) == 7


def test_assigned_thresholds_are_used():
    generator = SamAutomaticMaskGenerator.from_pretrained("nano", points_per_side=2)
    generator.pred_iou_thresh = 0.1
    assert generator.options.pred_iou_thresh == generator.pred_iou_thresh == 0.1
    with pytest.raises(ValueError, match="box_nms_thresh is 'high'"):
        generator.box_nms_thresh = "high"
    assert generator.box_nms_thresh == 0.7
    with pytest.raises(AttributeError, match="'SamAutomaticMaskGenerator' .* 'box_thresh'"):
        generator.box_thresh  # noqa: B018
    assert copy.deepcopy(generator).pred_iou_thresh == 0.1


def test_every_argument_of_the_generator_is_its_option():
    given = dict(
        points_per_side=3, points_per_batch=4, pred_iou_thresh=0.1, stability_score_thresh=0.2,
        stability_score_offset=0.3, box_nms_thresh=0.4, crop_n_layers=1, crop_nms_thresh=0.5,
        crop_overlap_ratio=0.6, crop_n_points_downscale_factor=2, min_mask_region_area=7,
        output_mode="coco_rle",
    )  # fmt: skip
    generator = SamAutomaticMaskGenerator(Sam.from_pretrained("nano"), **given)
    assert {name: getattr(generator, name) for name in given} == given
    assert given.keys() | {"point_grids"} == {f.name for f in fields(GeneratorOptions)}


def test_assigned_points_reach_the_model():
    """Assigning points_per_side to a generator used to change nothing."""
    generator = SamAutomaticMaskGenerator.from_pretrained("nano", points_per_side=2)
    generator.points_per_side = 3
    assert [len(grid) for grid in generator.point_grids] == [9]
    generator.crop_n_layers = 1
    assert [len(grid) for grid in generator.point_grids] == [9, 9]
    with pytest.raises(ValueError, match="point_grids has 1 grids; expected 2"):
        generator.point_grids = [np.full((4, 2), 0.5)]
    generator.point_grids = [np.full((4, 2), 0.5), np.full((1, 2), 0.5)]
    assert generator.points_per_side is None and len(generator.point_grids[0]) == 4
    with pytest.raises(ValueError, match="exclude each other"):
        generator.point_grids = None
    generator.points_per_side = 2
    assert [len(grid) for grid in generator.point_grids] == [4, 4]


HUGE = 10**400
WRONG = [
    ("points_per_side", [True, 0, 1025, HUGE, [], {}, "3", 2.0, np.zeros(2), float("nan")]),
    ("points_per_batch", [True, 0, HUGE, [], None]),
    ("pred_iou_thresh", [[], {}, "1", float("nan"), HUGE, True, 1j, np.complex64(1), np.zeros(1)]),
    ("crop_n_layers", [True, -1, 7, HUGE, [], 1.0]),
    ("crop_overlap_ratio", [1, -0.1, HUGE, [], float("inf")]),
    ("crop_n_points_downscale_factor", [0, -1, HUGE, [], float("nan")]),
    ("min_mask_region_area", [-1, HUGE, [], None]),
    ("output_mode", [[], {}, 1, None, "rle"]),
    ("point_grids", [5, "ab", {}, {"a": 1}, [], [[[HUGE, 1]]], [[["a", "b"]]], [None], np.zeros(3),
                     [np.full((1, 2), np.nan)], [np.broadcast_to(0.5, (10**9, 2))]]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "i"), [(n, i) for n, values in WRONG for i in range(len(values))])
def test_hostile_values_of_options(name, i):
    value = dict(WRONG)[name][i]
    others = {"points_per_side": None} if name == "point_grids" else {}
    with pytest.raises(ValueError, match="points|point_grids|expected"):
        GeneratorOptions(**{name: value}, **others)
    with pytest.raises(ValueError, match="points|point_grids|expected"):
        GeneratorOptions().with_one(name, value)


@pytest.mark.parametrize("factor", [1e-3, 1e-9, 1e-300, 1e300, 5e-324])
def test_tiny_factors_do_not_multiply_points(factor):
    """32 / 1e-9 points a side took the memory of the machine; other factors ArithmeticError."""
    options = GeneratorOptions(
        crop_n_points_downscale_factor=factor
    )  # without crops it says nothing
    for layers in (1, 2, 6):
        with pytest.raises(ValueError, match="points a side .*expected at least 1"):
            options.with_one("crop_n_layers", layers)
    options = GeneratorOptions(crop_n_layers=2, crop_n_points_downscale_factor=4)
    with pytest.raises(ValueError, match="leave .*0.* points a side"):
        options.with_one("points_per_side", 8)


def test_grids_are_the_options_own():
    """They were looked at once, and used as they were later."""
    grid = np.full((2, 2), 0.5)
    options = GeneratorOptions(points_per_side=None, point_grids=[grid])
    grid[:] = np.nan
    assert options.grids[0].tolist() == [[0.5, 0.5]] * 2


@pytest.mark.parametrize("name", ["dtype", "quantize", "image_size", "preprocess"])
@pytest.mark.parametrize("value", [[], {}, [8], set(), np.zeros(2), HUGE, object()])
def test_hostile_values_of_loading(name, value):
    with pytest.raises(ValueError, match=f"{name} is .*; expected "):
        LoadOptions.of(**{name: value})
