import sam_mlx  # noqa: F401 I001  first: on Linux it must come before mlx.core, see sam_mlx/_linux.py

import mlx.core as mx
import numpy as np
import pytest
import skimage.data

from tests import models


@pytest.fixture(autouse=True)
def seed():
    """Random inputs of a test do not depend on which tests ran before."""
    mx.random.seed(0)


@pytest.fixture(scope="session")
def photograph() -> np.ndarray:
    """A public-domain picture (NASA), 512 x 512."""
    return skimage.data.astronaut()


@pytest.fixture(scope="session")
def wide_photograph(photograph) -> np.ndarray:
    return photograph[100:407, 3:]  # 307 x 509


@pytest.fixture(scope="session")
def small():
    """The original and ours, of a small size with every structure of ViT-B, on equal weights."""
    return models.pair(models.SMALL)
