"""nano under Meta's package and under ours."""

from functools import lru_cache

import numpy as np
import torch
from PIL import Image

from sam_mlx import Sam, compat
from tests.support.automatic import original_of
from tests.support.source import ROOT


@lru_cache(maxsize=1)
def nano_pair() -> tuple[torch.nn.Module, compat.Sam]:
    model = Sam.from_pretrained("nano")
    return original_of(model), compat.Sam(model)


def picture() -> np.ndarray:
    """Coins, 240 x 320 or so, RGB."""
    return np.array(Image.open(ROOT / "examples" / "images" / "coins.png").convert("RGB"))


def same(ours, original, atol=0.0) -> None:
    """Equal in type, dtype, shape, contiguity, device and, within ``atol``, values."""
    assert type(ours) is type(original)
    if isinstance(original, (list, tuple)):
        assert len(ours) == len(original)
        for pair in zip(ours, original):
            same(*pair, atol)
    elif isinstance(original, dict):
        assert list(ours) == list(original)
        for key in original:
            same(ours[key], original[key], atol)
    elif isinstance(original, torch.Tensor):
        assert ours.is_contiguous() and ours.device == original.device
        same(ours.detach().numpy(), original.detach().numpy(), atol)
    elif isinstance(original, np.ndarray):
        assert (ours.dtype, ours.shape) == (original.dtype, original.shape)
        if original.dtype.kind == "f":
            np.testing.assert_allclose(ours, original, rtol=0, atol=atol)
        else:
            assert (ours == original).all(), f"{(ours != original).sum()} values differ"
    elif isinstance(original, float):
        assert abs(ours - original) <= atol
    else:
        assert ours == original
