"""Small regions go; where all are small, one stays."""

import sys

import numpy as np
import pytest

from sam_mlx import masks as M


def test_the_largest_island_stays_when_all_are_small():
    mask = np.zeros((9, 9), bool)
    mask[0, 0] = mask[4:6, 4:7] = True
    cleaned, changed = M.remove_small_regions(mask, 100, "islands")
    assert changed
    assert cleaned.sum() == 6 and cleaned[4, 4]


def test_small_regions_without_scipy_name_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(ImportError, match="pip install scipy"):
        M.remove_small_regions(np.ones((2, 2), bool), 1, "holes")


def test_an_rle_is_cleaned_of_holes_and_of_islands():
    mask = np.zeros((9, 12), bool)
    mask[1:7, 1:7] = True
    whole = mask.copy()
    mask[3, 3] = False
    mask[8, 11] = True
    (rle,) = M.compress_rle(M.encode_rle(mask[None]))
    assert M.clean_rle(rle, 1) is rle
    assert M.clean_rle(rle, 2) == M.encode_rle(whole[None])[0]
