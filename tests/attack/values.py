"""What hypothesis makes of values and files: ``python -m tests.attack.values 3600``.

Takes the seconds to run, 60 unless given, a first seed, and names of attacks, all unless given;
prints how many were tried, and how many accepted. What is handed over is either used or refused in
one short line. Fails on any other error, on an answer that changes when asked for twice, as foreign
memory would, on more than ROOM bytes beyond what the process has when it begins, and on what takes
longer than SLOW seconds.
"""

from __future__ import annotations

import json
import random
import struct
import sys
import tempfile
import time
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from sam_mlx import ImageEmbedding, MaskPredictions, Sam, SamAutomaticMaskGenerator, SamPredictor
from sam_mlx.config import check
from sam_mlx.masks import compress_rle, decode_rle, encode_rle, rle_area
from sam_mlx.messages import MAX_LINE
from sam_mlx.registry import config_of
from tests.attack import objects
from tests.support.models import SMALL, original

ROOM = 3 << 30
SLOW = 30

# Regular expressions for an adapter's rank_pattern: some take longer than the age of the world.
PATTERNS = [
    "qkv",
    ".*",
    "(a+)+$",
    "(.*)*x",
    "(",
    "[",
    "a{1,99999}",
    "(?P<x>q)(?P=x)",
    "\\1",
    "^",
    "",
]

tried: Counter[str] = Counter()
accepted: Counter[str] = Counter()

# Values.

wild = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=20),
    st.sampled_from([0, -1, 1, 2**31 - 1, 2**31, 2**53, 2**63, 10**18, 10**400, 1e39, -1e39]),
    st.sampled_from([1e-320, float("nan"), float("inf"), "", "\x1b[31m"]),
)  # fmt: skip
tree = st.recursive(
    wild,
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=10,
)
kinds = st.sampled_from(["f8", "f4", "f2", "i8", "i4", "u1", "?", "c8", "U3", "O"])
some_array = kinds.flatmap(
    lambda kind: arrays(
        np.float64 if kind in ("O", "U3") else kind,
        array_shapes(min_dims=0, max_dims=4, max_side=5),
    ).map(lambda a: a.astype(kind))
)
box = st.tuples(*[st.floats(-500, 500)] * 4).map(lambda b: [*np.minimum(b[:2], b[2:]), *b[2:]])
mask = st.integers(0, 2**32 - 1).map(
    lambda n: np.random.default_rng(n).normal(0, 9, (1, 160, 160)).astype(np.float32)
)


@st.composite
def parts(draw: st.DrawFn) -> list[Any]:
    """What predict takes: points, labels, a box, a mask."""
    n = draw(st.integers(0, 6))
    points = np.random.default_rng(draw(st.integers(0, 999))).uniform(-99, 200, (n, 2))
    labels = draw(st.lists(st.sampled_from([1, 0, -1]), min_size=n, max_size=n))
    given = [points.tolist(), labels] if n else [None, None]
    return [*given, draw(st.none() | box), draw(st.none() | mask)]


@st.composite
def with_one_wild(draw: st.DrawFn, sound: st.SearchStrategy[list[Any]]) -> list[Any]:
    values = list(draw(sound))
    if draw(st.booleans()):
        values[draw(st.integers(0, len(values) - 1))] = draw(some_array | tree)
    return values


prompt = with_one_wild(parts())
columns = with_one_wild(
    st.lists(prompt, max_size=4).map(lambda prompts: [list(c) for c in zip(*prompts)] or [None] * 4)
)
runs = st.one_of(
    st.lists(st.integers(-3, 40) | st.integers(-(2**65), 2**65), max_size=12),
    st.text(st.characters(min_codepoint=32, max_codepoint=130), max_size=60),
    st.binary(max_size=60),
    tree,
)
sizes = st.tuples(st.integers(0, 12), st.integers(0, 12)) | tree
sound_rle = st.integers(0, 2**32 - 1).map(
    lambda n: encode_rle(np.random.default_rng(n).random((1, n % 9 + 1, n % 7 + 1)) < 0.3)[0]
)
rle = st.one_of(
    sound_rle,
    sound_rle.map(lambda r: compress_rle([r])[0]),
    st.tuples(sound_rle, runs).map(lambda pair: {**pair[0], "counts": pair[1]}),
    st.tuples(sound_rle, sizes).map(lambda pair: {**pair[0], "size": pair[1]}),
    st.fixed_dictionaries({"size": sizes, "counts": runs}),
    tree,
)


# What they are handed to.


class Attacks:
    """Each takes one thing; returning, it accepted it. ValueError and OSError are refusals."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.model = Sam.from_pretrained("nano")
        self.predictor = SamPredictor(self.model)
        self.generator = SamAutomaticMaskGenerator(self.model, points_per_side=4, pred_iou_thresh=0)
        picture = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
        self.predictor.set_image(picture)
        self.predictor.get_image_embedding().save(folder / "embedding.safetensors")
        self.generator.predict("examples/images/coins.png").save(folder / "found.safetensors")
        self.model.save_pretrained(folder / "model")
        self.config = json.loads((folder / "model" / "config.json").read_text())
        found = MaskPredictions.load(folder / "found.safetensors")
        self.objects = objects.Objects(folder, self.model, self.predictor, found)
        self.saved = {
            name: (folder / name).read_bytes()
            for name in ("embedding.safetensors", "found.safetensors", "model/model.safetensors")
        }
        pickled = BytesIO()
        torch.save(original(SMALL).state_dict(), pickled)
        self.state = pickled.getvalue()

    def prompt(self, parts: list[Any]) -> None:
        once, again = (self.predictor.predict(*parts) for _ in range(2))
        for a, b in zip(once, again, strict=True):
            np.testing.assert_array_equal(a, b)
        assert once[0].shape == (3, 40, 60) and np.isfinite(once[1]).all()

    def prompts(self, parts: list[Any]) -> None:
        once, again = (self.predictor.predict_batch(*parts) for _ in range(2))
        for a, b in zip(once, again, strict=True):
            np.testing.assert_array_equal(a, b)
        assert np.isfinite(once[1]).all()

    def run_lengths(self, value: Any) -> None:
        found = decode_rle([value])
        assert found.shape[1:] == tuple(value["size"]) and rle_area(value) == found.sum()
        np.testing.assert_array_equal(decode_rle(encode_rle(found)), found)

    def settings(self, change: dict[str, Any]) -> None:
        """Of a model whose weights stay."""
        values = self.config | {k: v for k, v in change.items() if k != "encoder"}
        values["encoder"] = self.config["encoder"] | change.get("encoder", {})
        (self.folder / "model" / "config.json").write_text(json.dumps(values))
        check(config_of(values))
        Sam.from_pretrained(self.folder / "model")

    def saved_file(self, damage: tuple[str, int]) -> None:
        name, number = damage
        (self.folder / "model" / "config.json").write_text(json.dumps(self.config))
        path = self.folder / name
        path.write_bytes(damaged(self.saved[name], random.Random(number)))
        if name.startswith("embedding"):
            own = self.predictor.get_image_embedding()
            try:
                self.predictor.set_image_embedding(ImageEmbedding.load(path))
                self.predictor.predict([[3, 4]], [1])
            finally:
                self.predictor.set_image_embedding(own)
        elif name.startswith("found"):
            self.generator.select(MaskPredictions.load(path))
        else:
            Sam.from_pretrained(path.parent)

    def pickle(self, number: int) -> None:
        path = self.folder / "damaged.pth"
        path.write_bytes(damaged_pickle(self.state, random.Random(number)))
        Sam.from_pretrained(path)


def flipped(data: bytes, chance: random.Random) -> bytes:
    """Bytes changed, cut off, gone or repeated, at one to four places."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at, length = chance.randrange(len(changed) + 1), chance.randint(0, 9)
        new = [b"", changed[at : at + length] * 2, chance.randbytes(length)]
        changed[at : at + length] = chance.choice(new)
        if chance.random() < 0.1:
            del changed[at:]
    return bytes(changed)


def damaged(data: bytes, chance: random.Random) -> bytes:
    """A safetensors file with an entry of its header changed, or bytes anywhere."""
    (length,) = struct.unpack("<Q", data[:8])
    if chance.random() < 0.3:
        return flipped(data[: 8 + length], chance) + data[8 + length :]
    header, values = json.loads(data[8 : 8 + length]), data[8 + length :]
    names = list(header)
    for _ in range(chance.randint(1, 3)):
        name = chance.choice(names)
        entry = header.get(name)
        if entry is None or chance.random() < 0.2:
            header.pop(name, None)
        elif name == "__metadata__":
            key = chance.choice(list(entry))
            entry[key] = chance.choice(
                ["", "[1, 1]", "[0, 9]", "[1e9, 3]", "[" * 9999, "[9999999, 9999999]"]
            )
        else:
            entry.update(chance.choice(misfits(entry["shape"], len(values))))
    if chance.random() < 0.3:
        values = bytes(len(values)) if chance.random() < 0.5 else b"\xff" * len(values)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + values


def misfits(shape: list[int], size: int) -> list[dict[str, Any]]:
    """Changes of a tensor's entry."""
    types = ["F16", "F64", "I32", "BOOL", "BF16", "U8", "X"]
    shapes = [shape[::-1], [1, *shape], [], [0], [2**40], [2**32, 2**32]]
    offsets = [[0, 0], [0, size], [5, 3], [0, 2**50]]
    return (
        [{"dtype": name} for name in types]
        + [{"shape": other} for other in shapes]
        + [{"data_offsets": pair} for pair in offsets]
    )


def damaged_pickle(data: bytes, chance: random.Random) -> bytes:
    """A file of torch.save with bytes changed in its pickle, or anywhere."""
    if chance.random() < 0.4:
        return flipped(data, chance)
    written = BytesIO()
    with zipfile.ZipFile(BytesIO(data)) as old, zipfile.ZipFile(written, "w") as new:
        for info in old.infolist():
            content = old.read(info)
            if info.filename.endswith("data.pkl"):
                content = flipped(content, chance)
            new.writestr(info, content)
    return written.getvalue()


def attempt(name: str, use: Callable[[Any], None], value: Any) -> None:
    tried[name] += 1
    start = time.monotonic()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            use(value)
        accepted[name] += 1
    except (ValueError, OSError) as error:
        refusal = str(error)
        is_short = 0 < len(refusal) <= MAX_LINE and refusal.replace("\n", "").isprintable()
        if not is_short:
            raise AssertionError(repr(refusal[:300])) from error
    assert time.monotonic() - start < SLOW, f"{name} took {time.monotonic() - start:.0f} s"


def limit(room: int) -> None:
    """No more address space than that beyond what there is; on Linux, where it is counted."""
    if sys.platform == "linux":
        import resource

        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + room, used + room))


def run(folder: Path, seconds: float, first: int = 0, only: Sequence[str] = ()) -> None:
    """Attacks in turn, 50 examples a time, until the time is over; each at least once."""
    attacks = Attacks(folder)
    numbers = st.integers(0, 2**32 - 1)
    fields = st.sampled_from([*attacks.config, "unknown"])
    inner = st.sampled_from([*attacks.config["encoder"], "unknown"])
    change = st.dictionaries(fields, tree, max_size=3).filter(lambda d: "encoder" not in d)
    both = st.tuples(change, st.dictionaries(inner, tree, max_size=2))
    settings_of_adapters = st.sampled_from([*attacks.objects.config, "unknown"])
    patterns = st.dictionaries(st.sampled_from(PATTERNS), wild, max_size=2)
    adapter_change = st.dictionaries(settings_of_adapters, tree | patterns, max_size=2)
    given_to = {
        "prompt": (attacks.prompt, prompt),
        "prompts": (attacks.prompts, columns),
        "run lengths": (attacks.run_lengths, rle),
        "settings": (attacks.settings, both.map(lambda pair: pair[0] | {"encoder": pair[1]})),
        "saved file": (attacks.saved_file, st.tuples(st.sampled_from([*attacks.saved]), numbers)),
        "pickle": (attacks.pickle, numbers),
        "table": (attacks.objects.table, objects.table()),
        "predictions": (attacks.objects.predictions, numbers),
        "image embedding": (attacks.objects.image_embedding, numbers),
        "adapter": (attacks.objects.adapted, st.tuples(adapter_change, numbers)),
        "special": (attacks.objects.special, objects.readers),
    }
    limit(ROOM)
    end = time.monotonic() + seconds
    at = first
    while True:
        for name in only or given_to:
            attack(name, *given_to[name], at)
        at += 1
        if time.monotonic() >= end:
            return


def attack(
    name: str, use: Callable[[Any], None], values: st.SearchStrategy[Any], number: int
) -> None:
    @seed(number)
    @settings(
        max_examples=50, deadline=None, database=None, phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(values)
    def examples(value: Any) -> None:
        attempt(name, use, value)

    examples()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder), *(int(n) for n in sys.argv[1:3] or ["60"]), only=sys.argv[3:])
    for name, n in tried.items():
        print(f"{name}: {n} tried, {accepted[name]} accepted")
