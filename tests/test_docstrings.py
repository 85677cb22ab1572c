"""The examples in docstrings run, and print what they say."""

import doctest
import importlib

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
    grids = "points_per_side=None, crop_n_layers=1, point_grids of 4, 1 points"
    assert repr(generator).endswith(f"), GeneratorOptions({grids}))")
    assert repr(generator.predictor).endswith(", image not set)")
    found = generator.predict(np.zeros((60, 80, 3), np.uint8), keep_iou=0)
    assert repr(found) == (
        f"MaskPredictions(image 60 x 80, {len(found.crop_boxes)} crops, {len(found.crop)} masks of "
        "160 x 160 with a predicted IoU above 0)"
    )
    assert all("\n" not in repr(made) for made in (generator, generator.predictor))
