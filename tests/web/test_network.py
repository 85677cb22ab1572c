"""What goes over a network: small answers, compressed texts, and estimates that move on."""

import gzip
import json
import time
from itertools import pairwise

import numpy as np
import pytest

import tests.support.web  # noqa: F401  first: it skips all where it must
from sam_mlx.web.application import LEVEL
from sam_mlx.web.backend import ON_TIME
from sam_mlx.web.model import compact, packed
from tests.support.web import COINS

MAX_HOVER = 15_000  # bytes


def test_a_hovers_answer_is_small(page):
    """In bytes on the wire; the best mask alone, and what is drawn of it."""
    page.ready()
    whole = page.predict()
    answer = page.predict(compact=True, hover=True)
    assert answer.headers["content-encoding"] == "gzip"
    assert int(answer.headers["content-length"]) < MAX_HOVER
    best = answer.json()["best"]
    for i, (mask, all_of_it) in enumerate(zip(answer.json()["masks"], whole.json()["masks"])):
        assert (mask["logits"] is not None) == (i == best)
        assert mask["score"] == all_of_it["score"]
    assert answer.json()["masks"][best]["logits"] == compact(whole.json()["masks"][best]["logits"])


@pytest.mark.parametrize("seed", range(3))
def test_compact_logits_are_those_near_the_outline(seed):
    """On every cell beside a change of sign; elsewhere powers of 2 of the same sign. And small,
    for masks of many parts at the size of released models.
    """
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:256, :256]
    places = random.uniform(0, 256, (40, 2))
    near = np.min([np.hypot(x - a, y - b) for a, b in places], axis=0)
    logits = ((15 - near) * 2 + random.normal(0, 0.2, near.shape)).astype(np.float32)
    given = packed(logits)
    before, after = (decoded(form) for form in (given, compact(given)))
    np.testing.assert_array_equal(before > 0, after > 0)
    around = np.pad(before > 0, 1, mode="edge")
    blocks = np.stack([around[i : i + 256, j : j + 256] for i in range(3) for j in range(3)])
    edge = blocks.any(0) & ~blocks.all(0)
    np.testing.assert_array_equal(before[edge], after[edge])
    sizes, whole = np.abs(after[~edge]), np.abs(before[~edge])
    assert (
        (sizes & (sizes - 1) == 0).all()
        and (sizes <= whole).all()
        and ((whole < 2 * sizes) | (whole == 0)).all()
    )
    assert len(gzip.compress(json.dumps(compact(given)).encode(), LEVEL)) < MAX_HOVER


def decoded(form) -> np.ndarray:
    import base64

    return np.frombuffer(base64.b64decode(form["data"]), np.int8).reshape(form["shape"]).astype(int)


def test_texts_are_compressed_for_those_who_take_it(page):
    style = page.client.get("/page/page.css")
    assert style.headers["content-encoding"] == "gzip" and ":root" in style.text
    plain = page.client.get("/page/page.css", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers and plain.text == style.text
    assert int(style.headers["content-length"]) < len(plain.content) / 2
    assert "content-encoding" not in page.client.get("/page/icon.svg").headers
    assert page.client.get(f"{page.picture}/image").headers.get("content-encoding") is None


def test_an_estimate_moves_on_however_late_it_is(server, monkeypatch):
    content = server.store.of_file(COINS)
    assert server.encoding_share(content) is None
    content.encoding, server.encoding_seconds = 100.0, 10.0
    shares = []
    for seconds in range(31):
        monkeypatch.setattr(time, "monotonic", lambda now=100.0 + seconds: now)
        shares.append(server.encoding_share(content))
    assert shares[4] == pytest.approx(0.4) and shares[8] == pytest.approx(ON_TIME)
    assert all(0 < b - a < 0.11 for a, b in pairwise(shares)) and shares[-1] < 1
