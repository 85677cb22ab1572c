"""Tints and contours of masks, and what drawing them costs."""

import colorsys
import tracemalloc
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sam_mlx import overlay
from sam_mlx.cli import main
from sam_mlx.masks import compress_rle, encode_rle
from tests.support.budgets import limited

IMAGES = Path(__file__).parent.parent / "examples" / "images"


def drawn_at_once(image, masks):
    """Masks as draw_overlay draws them, over the whole picture in float32."""

    def eroded(mask, steps):
        for _ in range(steps):
            p = np.pad(mask, 1)
            mask = mask & p[:-2, 1:-1] & p[2:, 1:-1] & p[1:-1, :-2] & p[1:-1, 2:]
        return mask

    canvas = image.astype(np.float32)
    line = max(1, round(max(image.shape[:2]) / 500))
    for mask, colour in zip(masks, overlay.palette(len(masks))):
        canvas[mask] += overlay.TINT * (colour - canvas[mask])
        edge = mask & ~eroded(mask, line)
        canvas[edge] = 0.35 * colour + 0.65 * 255
    return canvas.round().astype(np.uint8)


def scene(seed, height, width, count):
    """A picture, and blobs that overlap, are cut by its borders, or are empty."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), np.uint8)
    y, x = np.ogrid[:height, :width]
    masks = np.zeros((count, height, width), bool)
    for mask in masks:
        cy, cx, r = rng.uniform(-0.2, 1.2, 3) * (height, width, max(height, width) / 2)
        mask[:] = ((y - cy) ** 2 + (x - cx) ** 2 < r * abs(r)) ^ (rng.random(mask.shape) < 0.02)
    return image, masks


@settings(max_examples=60)
@given(
    st.integers(0, 9999),
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(0, 4),
    st.integers(1, 500),
)
def test_strips_draw_what_is_drawn_at_once(seed, height, width, count, pixels):
    image, masks = scene(seed, height, width, count)
    with limited(drawn_pixels=pixels):
        found = np.asarray(overlay.draw_overlay(image, masks))
    np.testing.assert_array_equal(found, drawn_at_once(image, masks))


@pytest.mark.parametrize("pixels", [1700, 40000, 1 << 20])
def test_wide_contours_cross_strips(pixels):
    image, masks = scene(3, 300, 1700, 3)  # contours of 3 pixels
    with limited(drawn_pixels=pixels):
        found = np.asarray(overlay.draw_overlay(image, masks))
    np.testing.assert_array_equal(found, drawn_at_once(image, masks))


def test_the_committed_overlay_is_drawn_again(tmp_path):
    main(f"predict {IMAGES / 'coins.png'} --point 138 53 -o {tmp_path}".split())
    expected = (IMAGES / "coins_overlay.png").read_bytes()
    assert (tmp_path / "overlay.png").read_bytes() == expected


PREDICT = "predict {} --point 335 43 -o {}", "overlay.png", "greek_coins_click.png"
AUTO = (
    "auto {} --format overlay -o {}", "greek_coins_overlay.png", "greek_coins_everything.png",
)  # fmt: skip


@pytest.mark.parametrize(
    ("command", "written", "stored"), [PREDICT, pytest.param(*AUTO, marks=pytest.mark.slow)]
)
def test_the_photograph_of_readme_is_segmented_again(tmp_path, command, written, stored):
    """But for pixels whose logits are within rounding of the threshold."""
    assert main(command.format(IMAGES / "greek_coins.png", tmp_path).split()) == 0
    found, expected = (np.asarray(Image.open(p)) for p in (tmp_path / written, IMAGES / stored))
    plain = np.asarray(Image.open(IMAGES / "greek_coins.png").convert("RGB"))
    assert (expected != plain).any(-1).mean() > 0.01
    assert (found != expected).any(-1).mean() < 0.002


def test_numbers_and_mlx_arrays_are_masks_as_well():
    image, masks = scene(1, 30, 40, 2)
    expected = overlay.draw_overlay(image, masks).tobytes()
    for same in (masks.astype(np.uint8), list(masks), mx.array(masks)):
        assert overlay.draw_overlay(image, same).tobytes() == expected


@pytest.mark.parametrize(
    ("image", "masks", "message"),
    [
        (np.zeros((4, 5, 3), np.uint8), np.full((1, 4, 5), 255), "expected bool: pass masks > 0"),
        (np.zeros((4, 5, 3), np.uint8), np.ones((1, 5, 4), bool), r"size \(5, 4\).*\(4, 5\)"),
        (np.zeros((4, 5), np.uint8), [], r"shape \(4, 5\).*\(H, W, 3\) uint8"),
        (np.zeros((4, 5, 3)), [], "float64.*uint8"),
    ],
)
def test_what_cannot_be_drawn(image, masks, message):
    with pytest.raises(ValueError, match=message):
        overlay.draw_overlay(image, masks)


def test_drawing_takes_little_memory():
    """It took 32 bytes for each pixel; Pillow's own 4, of the result, are not traced."""
    image = np.zeros((4000, 4000, 3), np.uint8)
    masks = np.ones((1, 4000, 4000), bool)
    tracemalloc.start()
    picture = overlay.draw_overlay(image, masks)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(picture, Image.Image)
    assert peak < 3 * masks.size


def test_pictures_of_one_line():
    """A point's dot took 190 GB, and a contour as wide as the picture a minute."""
    image = np.zeros((1, 3_000_000, 3), np.uint8)
    mask = np.zeros((1, 1, 3_000_000), bool)
    mask[..., 500:2_000_000] = True
    points = [[1000, 0], [2_999_999, 0], [-1e30, 0], [5, 1e31]]
    drawn = np.asarray(overlay.draw_overlay(image, mask, points, [1, 0, 1, 0], [0, 0, 1e30, 1]))
    assert drawn.shape == image.shape
    assert drawn[0, 1000].tolist() == list(overlay.MARKERS[1])
    np.testing.assert_array_equal(
        np.asarray(overlay.draw_overlay(image[:, :60], mask[..., :60])), 0
    )


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ({"point_coords": [[1, 2], [3, 4]], "point_labels": [1]}, r"\(2, 2\) and point_labels"),
        ({"point_coords": [[1, 2]]}, r"\(1, 2\) and point_labels \(0,\)"),
        ({"point_coords": [[1, np.nan]], "point_labels": [1]}, "point_coords holds NaN"),
        ({"point_coords": [[10**400, 1]], "point_labels": [1]}, "expected numbers"),
        ({"point_coords": [[1, 2, 3]], "point_labels": [1]}, r"shape \(1, 3\)"),
        ({"box": [[0, 0], [3, 3]]}, r"box has shape \(2, 2\)"),
        ({"box": [0, 0, np.inf, 3]}, "box holds NaN or inf"),
        ({"box": {}}, "box is of type dict"),
    ],
)
def test_prompts_that_cannot_be_drawn(prompt, message):
    with pytest.raises(ValueError, match=message):
        overlay.draw_overlay(np.zeros((4, 5, 3), np.uint8), [], **prompt)


def test_show_takes_whatever_masks_there_are():
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    large, small = np.zeros((40, 60), bool), np.zeros((40, 60), bool)
    large[5:35, 5:50], small[10:20, 10:20] = True, True
    expected = np.asarray(overlay.draw_overlay(image, np.stack([large, small])))
    labels = np.where(small, 7, np.where(large, 2, 0))
    only = np.asarray(overlay.draw_overlay(image, (large & ~small)[None]))
    rles = encode_rle(np.stack([small, large]))
    forms = [
        [small, large],
        np.stack([large, small]),
        np.where(np.stack([large, small]), 3.5, -2),
        [{"segmentation": rle} for rle in rles],
        [{"segmentation": rle} for rle in compress_rle(rles)],
        [{"segmentation": mask} for mask in (small, large)],
    ]
    for masks in forms:
        assert np.array_equal(np.asarray(overlay.show(image, masks)), expected)
    assert not np.array_equal(np.asarray(overlay.show(image, labels)), expected)
    assert np.array_equal(np.asarray(overlay.show(image, np.where(labels == 2, 2, 0))), only)
    assert np.array_equal(np.asarray(overlay.show(image, large & ~small)), only)
    assert np.array_equal(np.asarray(overlay.show(Image.fromarray(image))), image)
    with_prompt = overlay.show(image, large, [[20, 20]], [1], box=[5, 5, 49, 34])
    given = np.array([[20, 20]]), np.array([1]), np.array([5, 5, 49, 34])
    assert np.array_equal(with_prompt, overlay.draw_overlay(image, large[None], *given))


@pytest.mark.parametrize(("masks", "message"), [
    (np.zeros((2, 2, 2, 2)), r"shape \(2, 2, 2, 2\); expected"),
    ([{"area": 3}], "a record has area; expected a segmentation"),
    (np.zeros((3, 4), bool), "size"),
    ("masks", "masks"),
])  # fmt: skip
def test_show_names_what_it_cannot_draw(masks, message):
    with pytest.raises(ValueError, match=message):
        overlay.show(np.zeros((9, 9, 3), np.uint8), masks)


def test_a_colour_alone_is_that_of_the_palette():
    colours = overlay.palette(300)
    assert [overlay.hex_colour(i) for i in range(300)] == [f"#{c.tobytes().hex()}" for c in colours]


def in_oklab(colours):
    """(N, 3): lightness, and two axes of hue, in which distances are as the eye has them."""
    values = colours / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    cones = np.cbrt(linear @ np.linalg.inv(overlay.LINEAR).T)
    return cones @ np.linalg.inv(overlay.CONES).T


def test_hundreds_of_colours_are_calm_and_differ():
    hues = (0.58 + 0.618034 * np.arange(24)) % 1
    first = [colorsys.hsv_to_rgb(h, 0.75 - 0.2 * (i % 2), 1) for i, h in enumerate(hues)]
    colours = overlay.palette(300)
    assert np.array_equal(colours[:24], np.round(255 * np.array(first)))  # as README's picture has
    assert len(np.unique(colours, axis=0)) == 300
    found = in_oklab(colours)
    assert np.hypot(*found[24:, 1:].T).max() < 0.11
    for apart in (1, 2):  # neighbours in the list
        assert np.linalg.norm(found[apart:] - found[:-apart], axis=1).min() > 0.1
    assert set(found[24:, 0].round(2)) == {0.62, 0.7, 0.78}
