"""Run lengths, there and back, and what is not an RLE."""

import mlx.core as mx
import numpy as np
import pytest
from pycocotools import mask as coco

from sam_mlx import masks as M
from tests.support.masks import SHAPES, random_masks


@pytest.mark.parametrize("density", [0, 0.05, 0.5, 1])
@pytest.mark.parametrize("shape", SHAPES)
def test_rle_comes_back(shape, density):
    masks = random_masks(shape, density)
    rles = M.encode_rle(masks)
    assert rles == M.encode_rle(mx.array(masks))
    compressed = M.compress_rle(rles)
    if len(masks):
        assert (M.decode_rle(rles) == masks).all()
        assert (M.decode_rle(compressed) == masks).all()
        assert (coco.decode(compressed).transpose(2, 0, 1) == masks).all()
    assert [M.rle_area(rle) for rle in rles] == masks.sum((1, 2)).tolist()


def test_compressed_rle_of_long_runs():
    masks = np.zeros((3, 2000, 3000), bool)
    masks[0, 700:1900, 10:2990] = True
    masks[1, 5, 5] = masks[1, 1999, 2999] = True
    masks[2] = True
    compressed = M.compress_rle(M.encode_rle(masks))
    assert (M.decode_rle(compressed) == masks).all()
    assert coco.area(compressed).tolist() == masks.sum((1, 2)).tolist()


@pytest.mark.parametrize("density", [0, 0.05, 0.5, 1])
def test_a_part_of_an_rle_is_decoded(density):
    (mask,) = random_masks((1, 23, 31), density)
    (rle,) = M.encode_rle(mask[None])
    for x0, y0, x1, y1 in [(0, 0, 31, 23), (3, 4, 5, 23), (30, 22, 31, 23), (7, 0, 20, 1)]:
        part = M.decode_part(rle, (x0, y0, x1, y1))
        assert part.dtype == bool and (part == mask[y0:y1, x0:x1]).all()
    assert (M.decode_part(M.compress_rle([rle])[0], (2, 3, 9, 9)) == mask[3:9, 2:9]).all()


def test_a_part_of_a_mask_larger_than_memory_is_decoded():
    part = np.ones((3, 4), bool)
    rle = M.run_lengths(part, (399_997, 600_000), (400_000, 700_000))
    found = M.decode_part(rle, (599_999, 399_990, 600_005, 400_000))
    assert found.sum() == 12 and found[7:, 1:5].all()
    with pytest.raises(ValueError, match="the part of the RLE's mask would take"):
        M.decode_part(rle, (0, 0, 700_000, 400_000))


def test_rle_that_does_not_fill_its_size_is_refused():
    with pytest.raises(ValueError, match="covers 5 pixels"):
        M.decode_rle([{"size": [2, 3], "counts": [2, 3]}])
    with pytest.raises(ValueError, match="of one size"):
        M.decode_rle([{"size": [2, 3], "counts": [6]}, {"size": [3, 2], "counts": [6]}])


def test_counts_are_text_or_bytes():
    """pycocotools writes bytes: compress_rle and coco_annotations failed on them."""
    masks = random_masks((3, 6, 8), 0.5)
    rles = M.encode_rle(masks)
    text = M.compress_rle(rles)
    raw = [coco.encode(np.asfortranarray(mask)) for mask in masks]
    assert all(isinstance(rle["counts"], bytes) for rle in raw)
    rest = dict.fromkeys(("bbox", "predicted_iou", "stability_score", "point_coords", "crop_box"))
    for form in (rles, text, raw, [rles[0], raw[1], text[2]]):
        assert (M.decode_rle(form) == masks).all()
        assert [M.rle_counts(rle) for rle in form] == [rle["counts"] for rle in rles]
        assert [M.rle_area(rle) for rle in form] == masks.sum((1, 2)).tolist()
        assert M.compress_rle(form) == text
        records = [{"segmentation": rle, "area": 1, **rest} for rle in form]
        assert [a["segmentation"] for a in M.coco_annotations(records)] == text


@pytest.mark.parametrize(
    ("rle", "message"),
    [
        ({"size": [2, 3], "counts": [7, -1]}, "counts .*none below 0"),
        ({"size": [2, 3], "counts": [10**30]}, "counts .*lengths of runs"),
        ({"size": [2, 3], "counts": [2.5, 3.5]}, "counts .*lengths of runs"),
        ({"size": [2, 3], "counts": [[]]}, "counts .*lengths of runs"),
        ({"size": [2, 3], "counts": [[1, 5]]}, "counts .*lengths of runs"),
        ({"size": [2, 3], "counts": [[1], [2, 3]]}, "counts .*lengths of runs"),
        ({"size": [2, 3], "counts": None}, "counts None"),
        ({"size": [2, 3], "counts": 6}, "counts 6;"),
        ({"size": [2, 3], "counts": "6\n"}, "counts .*compressed"),
        ({"size": [2, 3], "counts": "\u00e9"}, "counts .*compressed"),
        ({"size": [2, 3], "counts": b"\xff"}, "counts .*compressed"),
        ({"size": [2, 3], "counts": "Q"}, "counts .*compressed"),  # another digit should follow
        ({"size": [2, 3], "counts": "Q" * 20 + "0"}, "counts .*compressed"),
        ({"size": [2, 3], "counts": "O"}, "none below 0"),
        ({"size": [2, 3], "counts": ""}, "covers 0 pixels"),
        ({"size": [2, 3], "counts": []}, "covers 0 pixels"),
        ({"size": [2, 3], "counts": [2**62, 2**62, 2**62, 2**62, 6]}, "its size .* has 6"),
        ({"size": [2, 3], "counts": [10**15]}, "its size .* has 6"),
        ({"size": [0, 3], "counts": []}, r"size \[0, 3\]; expected whole"),
        ({"size": [2.0, 3.0], "counts": [6]}, "expected whole"),
        ({"size": [-2, -3], "counts": [6]}, "expected whole"),
        ({"size": [2, 3, 1], "counts": [6]}, "expected whole"),
        ({"size": None, "counts": [6]}, "expected whole"),
        ({"counts": [6]}, "not an RLE; expected size and counts"),
        ([[0, 0, 5, 0, 5, 5]], "not an RLE; expected size and counts"),
    ],
)
def test_malformed_rle_is_refused_in_one_error(rle, message):
    """Counts below 0 ended the process, long ones took memory, others were IndexError or a mask."""
    with pytest.raises(ValueError, match=message):
        M.decode_rle([rle])


def test_counts_are_bytes_of_any_kind():
    """A bytearray was taken for run lengths, one a character."""
    masks = random_masks((3, 9, 7), 0.4)
    for rle, mask in zip(M.compress_rle(M.encode_rle(masks)), masks):
        for kind in (bytes, bytearray, memoryview):
            counts = rle["counts"].encode()
            same = {**rle, "counts": kind(counts)}
            np.testing.assert_array_equal(M.decode_rle([same])[0], mask)
            assert M.rle_area(same) == mask.sum() and M.compress_rle([same]) == [rle]


@pytest.mark.parametrize(
    "function",
    [
        M.rle_area,
        M.rle_box,
        M.rle_bbox,
        lambda r: M.compress_rle([r]),
        lambda r: M.coco_annotations([M.record_of(r, 1, 1)]),
    ],
)
@pytest.mark.parametrize(
    "counts", [[2**62, 2**62, 2**62, 2**62, 6], [2**64 + 6], [0, 7], [1, 2], [2**63, 2**63, 6]]
)  # fmt: skip
def test_counts_that_do_not_fill_the_size_are_refused_everywhere(function, counts):
    """Sums as int64 wrapped around to the size."""
    with pytest.raises(ValueError, match="an RLE (covers|has counts)"):
        function({"size": [2, 3], "counts": counts})


@pytest.mark.parametrize("size", [[10**5, 10**5], [1, 10**10], [2**31, 2**31], [10**400, 1]])
def test_masks_larger_than_stated_are_not_made(size):
    rle = {"size": size, "counts": [size[0] * size[1]]}
    with pytest.raises(ValueError, match=r"MAX_PIXELS is the limit|an RLE has size"):
        M.decode_rle([rle])
