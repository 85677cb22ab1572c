"""Sizes, coordinates and pixels against the original's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from sam_mlx import transforms
from sam_mlx.modeling.layers import interpolate_rows
from tests.support import models
from tests.support.originals import segment_anything  # noqa: F401  makes the next import work

from segment_anything.utils.transforms import ResizeLongestSide  # isort: skip

pytestmark = pytest.mark.original
F = torch.nn.functional
sides = st.integers(1, 6000)


@given(sides, sides)
def test_preprocess_shape_is_the_originals(height, width):
    ours = transforms.preprocess_shape((height, width), 1024)
    original = ResizeLongestSide.get_preprocess_shape(height, width, 1024)
    # Where the original rounds a side to nothing, and fails, one pixel is kept.
    assert ours == tuple(max(1, side) for side in original)
    assert max(ours) == 1024


@given(sides, sides, st.lists(st.tuples(*[st.floats(-9999, 9999)] * 2), min_size=1, max_size=5))
def test_coordinates_are_the_originals(height, width, points):
    if 0 in ResizeLongestSide.get_preprocess_shape(height, width, 1024):
        return
    points = np.array(points)
    resize = ResizeLongestSide(1024)
    np.testing.assert_array_equal(
        transforms.apply_coords(points, (height, width), 1024),
        resize.apply_coords(points, (height, width)),
    )
    boxes = np.concatenate([points, points], axis=1)
    np.testing.assert_array_equal(
        transforms.apply_boxes(boxes, (height, width), 1024),
        resize.apply_boxes(boxes, (height, width)),
    )


@given(st.integers(1, 300), st.integers(1, 300))
def test_interpolation_is_interpolate(size, new_size):
    rows = torch.arange(2 * size, dtype=torch.float64).reshape(size, 2) ** 2
    expected = F.interpolate(rows.T[None], new_size, mode="linear")[0].T
    ours = interpolate_rows(rows.numpy(), new_size)
    np.testing.assert_allclose(ours, expected, atol=1e-6 * size**2)


def test_preprocessing_is_the_originals(photograph, wide_photograph, small):
    reference, model = small
    for image in (
        photograph,
        wide_photograph,
        wide_photograph.swapaxes(0, 1),
        photograph[:100, :90],
    ):
        resized = ResizeLongestSide(128).apply_image(image)
        expected = reference.preprocess(torch.tensor(resized).permute(2, 0, 1).float())
        ours = np.array(transforms.preprocess(image, models.SMALL))[0]
        np.testing.assert_allclose(ours, expected.permute(1, 2, 0).numpy(), atol=5e-7)
