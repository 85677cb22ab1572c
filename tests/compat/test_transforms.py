"""``utils.transforms`` for clients, function by function, against Meta's."""

import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import tests.support.originals  # noqa: F401  makes segment_anything importable
from sam_mlx.compat.utils.transforms import ResizeLongestSide
from tests.support.compat import same

pytestmark = pytest.mark.original
SIZES = [(240, 320), (320, 240), (1, 1), (1, 64), (64, 1), (1200, 1800), (1024, 1024), (1023, 7)]


@pytest.fixture(params=[1024, 320])
def pair(request):
    original = sys.modules["segment_anything.utils.transforms"].ResizeLongestSide
    return ResizeLongestSide(request.param), original(request.param)


@pytest.mark.parametrize("size", SIZES)
def test_sizes_and_coordinates(pair, size):
    ours, original = pair
    assert ours.target_length == original.target_length
    same(
        ours.get_preprocess_shape(*size, ours.target_length),
        original.get_preprocess_shape(*size, original.target_length),
    )
    rng = np.random.default_rng(0)
    for shape in ((5, 2), (2, 3, 2), (0, 2)):
        points = rng.random(shape) * 500
        for values in (points, points.astype(np.float32), points.astype(int)):
            before = values.copy()
            same(ours.apply_coords(values, size), original.apply_coords(values, size))
            tensor = torch.from_numpy(values)
            expected = original.apply_coords_torch(tensor, size)
            same(ours.apply_coords_torch(tensor, size), expected)
            assert (values == before).all()
    for shape in ((4,), (3, 4), (0, 4), (2, 2, 4)):
        boxes = rng.random(shape) * 500
        same(ours.apply_boxes(boxes, size), original.apply_boxes(boxes, size))
        tensor = torch.from_numpy(boxes)
        same(ours.apply_boxes_torch(tensor, size), original.apply_boxes_torch(tensor, size))


@pytest.mark.parametrize("size", [(24, 32), (32, 24), (1, 1), (3, 64), (400, 320)])
@pytest.mark.parametrize("channels", [(3,), (4,), ()])
def test_images(pair, size, channels):
    ours, original = pair
    image = np.random.default_rng(0).integers(0, 256, (*size, *channels), np.uint8)
    same(ours.apply_image(image), original.apply_image(image))
    if channels == (3,):
        flipped = image[..., ::-1]
        same(ours.apply_image(flipped), original.apply_image(flipped))


def test_image_tensors(pair):
    """The original takes the first two axes for height and width, whatever they are."""
    ours, original = pair
    for shape in ((1, 3, 24, 32), (2, 3, 5, 5)):
        image = torch.rand(shape) * 255
        same(ours.apply_image_torch(image), original.apply_image_torch(image))


def test_a_side_that_would_vanish_keeps_a_pixel_where_the_original_fails(pair):
    ours, original = pair
    image = np.zeros((1, 3000, 3), np.uint8)
    with pytest.raises(ValueError, match="must be > 0"):
        original.apply_image(image)
    assert ours.apply_image(image).shape == (1, ours.target_length, 3)
