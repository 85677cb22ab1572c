"""Regular expressions of adapters: Python's matches, in bounded time."""

import random
import re
import time
from contextlib import suppress

import pytest

from sam_mlx.checkpoints.patterns import Patterns

USUAL = [
    "qkv", r"blocks\.[01]\.attn\.qkv|layers\.[01]\.attn\.qkv", r".*\.0\.mlp\.lin1", "lin1",
    r"^image_encoder\.blocks\.\d+\.attn", r"(image_encoder|vision_encoder)\..*\.(q|k|v)_proj",
    r"layers\.\d{1,2}\.mlp", r"(?:blocks|layers)\.(1?\d)\.\w+", "neck.[02]$", r"[^.]+\.\w*", "",
]  # fmt: skip
NAMES = [
    "image_encoder.blocks.0.attn.qkv", "image_encoder.blocks.11.mlp.lin1", "neck.0", "neck.2",
    "vision_encoder.layers.1.attn.q_proj", "vision_encoder.layers.10.mlp.lin1", "lin1", "xlin1",
    "image_encoder.blocks.3.attn", "mask_decoder.transformer.layers.1.mlp", "qkv", "",
]  # fmt: skip


def as_peft(pattern: str, name: str) -> bool:
    return re.match(rf"(.*\.)?({pattern})$", name) is not None


def ours(pattern: str, name: str) -> bool:
    return Patterns({pattern: True}, "here").get(name, False)


@pytest.mark.parametrize("pattern", USUAL)
def test_matches_are_pythons(pattern):
    assert [ours(pattern, name) for name in NAMES] == [as_peft(pattern, name) for name in NAMES]


def drawn(chance: random.Random, depth: int = 3) -> str:
    """A regular expression of a, b and dots."""
    if depth == 0 or chance.random() < 0.3:
        return chance.choice(["a", "b", ".", r"\.", "[ab]", "[^a]", r"\w", "^", "$"])
    parts = [drawn(chance, depth - 1) for _ in range(chance.randint(1, 3))]
    form = chance.choice(["{}", "({})", "(?:{})*", "({})?", "({})+", "({}){{0,2}}", "({}){{2}}"])
    return form.format(chance.choice(["", "|"]).join(parts))


def test_matches_of_any_pattern_are_pythons():
    chance = random.Random(0)
    matched = 0
    for _ in range(1500):
        pattern = drawn(chance)
        for _ in range(4):
            name = "".join(chance.choices("ab.", k=chance.randint(0, 7)))
            assert ours(pattern, name) == as_peft(pattern, name), (pattern, name)
            matched += ours(pattern, name)
    assert 500 < matched < 5500  # neither all nor none


ENDLESS = [
    "(a+)+b", "(a*)*b", "(a|a)*b", "(a|aa)+b", "(.*)*b", "(a?){50}a{50}b", ".*.*.*.*.*.*b",
    "a{0,99}" * 99, "((a{0,99}){0,99}){0,99}b", "(" * 30 + "a*" + ")*" * 30 + "b",
    "(){999999999}b", "(a|a)" * 300 + "b",
]  # fmt: skip


@pytest.mark.parametrize("pattern", ENDLESS)
def test_time_is_bounded(pattern):
    """Python's own takes longer than the universe for most of them; measured here: up to 0.2 s."""
    start = time.process_time()
    with suppress(ValueError):  # it takes too many steps
        assert not ours(pattern, "a" * 300 + "." + "a" * 40 + "c")
    assert time.process_time() - start < 30


def test_steps_are_counted(monkeypatch):
    monkeypatch.setattr("sam_mlx.checkpoints.patterns.MAX_STEPS", 10_000)
    with pytest.raises(ValueError, match="^here takes too long to match; give the modules' names$"):
        ours("(a|a)*b", "a" * 10_000)


NOT_READ = [
    "(", ")", "[", "[a", "a**", "*", "a{2,1}", "a{", "{2}", r"\1", r"(a)\1", "(?=a)", "(?P<n>a)",
    "(?i)a", "[b-a]", "\\", r"\b", "(" * 31 + ")" * 31, "a{9999999999}", "(?:" * 40,
]  # fmt: skip


@pytest.mark.parametrize("pattern", NOT_READ)
def test_what_is_not_read_is_named(pattern):
    with pytest.raises(ValueError, match="^here has .* which is not a regular expression of char"):
        Patterns({pattern: 1}, "here")
