"""The examples in docstrings run, and print what they say."""

import doctest
import importlib
import inspect

import numpy as np
import pytest

from sam_mlx import ImageEmbedding, Sam, SamAutomaticMaskGenerator, SamPredictor, masks
from tests.support import source

MODULES = [name for name, path in source.modules().items() if ">>> " in path.read_text()]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.attempted > 0 and result.failed == 0


@pytest.mark.parametrize(
    "entry",
    [
        Sam.from_pretrained,
        ImageEmbedding,
        SamPredictor,
        SamPredictor.predict,
        SamPredictor.predict_batch,
        SamAutomaticMaskGenerator,
        masks,
    ],
)
def test_entry_points_have_an_example(entry):
    assert ">>> " in entry.__doc__


def test_what_is_printed_is_one_line():
    generator = SamAutomaticMaskGenerator.from_pretrained(
        "nano", points_per_side=None, point_grids=[np.full((4, 2), 0.5), np.zeros((1, 2))],
        crop_n_layers=1,
    )  # fmt: skip
    thresholds = "pred_iou_thresh=0.85, stability_score_thresh=0.9"  # nano's
    grids = f"points_per_side=None, {thresholds}, crop_n_layers=1, point_grids of 4, 1 points"
    assert repr(generator).endswith(f"), GeneratorOptions({grids}))")
    assert repr(generator.predictor).endswith(", image not set)")
    found = generator.predict(np.zeros((60, 80, 3), np.uint8), keep_iou=0)
    assert repr(found) == (
        f"MaskPredictions(image 60 x 80, {len(found.crop_boxes)} crops, {len(found.crop)} masks of "
        "160 x 160 with a predicted IoU above 0)"
    )
    assert all("\n" not in repr(made) for made in (generator, generator.predictor))


# Parts of the package that are read and called by others: its public names, the model, what
# CONTRIBUTING's recipes build on. In the others (the page's server, commands, parsers of files)
# a function's name and types often say enough.
DOCUMENTED = (
    "arrays", "automatic", "config", "decoding", "embedding", "export", "full_size", "images",
    "instances", "interop", "large", "masks", "modeling", "options", "overlay", "predictor",
    "prompts", "registry", "sam", "strips", "transforms",
)  # fmt: skip


def public_names(module: str) -> dict[str, object]:
    """Functions, classes, and their methods and properties that a module defines."""
    found: dict[str, object] = {}
    for name, value in vars(importlib.import_module(module)).items():
        if name.startswith("_") or getattr(value, "__module__", None) != module:
            continue
        if inspect.isfunction(value) or inspect.isclass(value):
            found[f"{module}.{name}"] = value
        if inspect.isclass(value):
            parts = (n for n in vars(value) if not n.startswith("_"))
            methods = {n: inspect.getattr_static(value, n) for n in parts}
            found |= {
                f"{module}.{name}.{n}": getattr(value, n)
                for n, m in methods.items()
                if isinstance(m, (staticmethod, classmethod, property)) or inspect.isfunction(m)
            }
    return found


def documentation(value: object) -> str | None:
    """A method may have that of what it overrides, a class only its own, which @dataclass fakes."""
    if not inspect.isclass(value):
        return inspect.getdoc(value)
    own = vars(value).get("__doc__")
    return None if own and own.startswith(f"{value.__name__}(") else own


def test_public_names_have_docstrings():
    names: dict[str, object] = {}
    for module in source.modules():
        if module.split(".")[1:2] and module.split(".")[1] in DOCUMENTED:
            names |= public_names(module)
    assert len(names) > 500
    assert [name for name, value in names.items() if not documentation(value)] == []
