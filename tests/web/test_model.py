"""What the server asks the model."""

import pytest

from tests.support.web import COINS  # isort: skip  first: it skips all where it must

from sam_mlx import SamPredictor
from sam_mlx.web.errors import Refusal
from sam_mlx.web.model import Embeddings


def test_embeddings_are_bounded_by_bytes_and_the_least_used_go(nano):
    embedding = SamPredictor(nano).embed(COINS)
    kept = Embeddings(max_bytes=2 * embedding.features.nbytes)
    for key in "ab":
        kept.put(key, embedding)
    kept.get("a")
    kept.put("c", embedding)
    assert "a" in kept and "c" in kept and kept.nbytes == kept.max_bytes
    with pytest.raises(Refusal, match="not ready"):
        kept.get("b")
    kept.max_bytes = 1
    kept.put("d", embedding)
    assert "d" in kept and "c" not in kept
