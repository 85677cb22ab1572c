"""Objects from callers: tables and tensors as prompts, hand-made dataclasses, adapters, files."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pandas as pd
import torch
from hypothesis import strategies as st
from safetensors.numpy import save_file

from sam_mlx import ImageEmbedding, MaskPredictions, Sam, SamAutomaticMaskGenerator, SamPredictor
from sam_mlx.checkpoints.adapters import PREFIX
from sam_mlx.cli import main
from sam_mlx.images import load_image
from sam_mlx.modeling.layers import weights_of
from tests.attack import special

EXTREME = [np.nan, np.inf, -np.inf, 1e39, -1e39, 1e-320, 0, -1, 2**31, 2**63]
TARGET = "image_encoder.blocks.0.attn.qkv"

# As libraries give them: of boxes (N, 4), points (N, 2) and labels (N,).
FORMS: dict[str, Callable[[np.ndarray], Any]] = {
    "list": lambda a: a.tolist(),
    "torch": torch.tensor,
    "with a gradient": lambda a: torch.tensor(a, dtype=torch.float32, requires_grad=True),
    "bfloat16": lambda a: torch.tensor(a).to(torch.bfloat16),
    "meta": lambda a: torch.tensor(a).to("meta"),
    "sparse": lambda a: torch.tensor(a).to_sparse(),
    "mlx": lambda a: mx.array(a.astype(np.float32)),
    "lazy": lambda a: mx.array(a.astype(np.float32)) + 0,
    "pandas": pd.DataFrame,
    "columns": lambda a: dict(enumerate(np.atleast_2d(a).T.tolist())),
    "dictionaries": lambda a: pd.DataFrame(a).to_dict("records"),
    "masked": lambda a: np.ma.masked_array(a, np.arange(a.size).reshape(a.shape) % 5 == 4),
    "objects": lambda a: a.astype(object),
    "text": lambda a: a.astype(str),
    "structured": lambda a: a.astype(np.float64).view([("x", "f8"), ("y", "f8")])
    if a.ndim == 2 and a.shape[1] % 2 == 0 else a,
    "reversed": lambda a: a[::-1],
    "strided": lambda a: np.repeat(a, 3, axis=0)[::3],
    "read-only": lambda a: np.broadcast_to(a, (1, *a.shape))[0],
    "big-endian": lambda a: a.astype(">f8"),
}  # fmt: skip
forms = st.sampled_from([*FORMS])


@st.composite
def table(draw: st.DrawFn) -> list[Any]:
    """Points, labels and a box of ``predict``, each in some form."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(0, 5))
    corners = np.sort(rng.uniform(0, 60, (draw(st.integers(0, 2)), 2, 2)), axis=1).reshape(-1, 4)
    parts = [rng.uniform(0, 60, (n, 2)), rng.integers(-1, 3, n), corners]
    if draw(st.booleans()):
        part = draw(st.sampled_from(parts[::2]))
        part[...] = np.where(rng.random(part.shape) < 0.3, draw(st.sampled_from(EXTREME)), part)
    shown = [FORMS[draw(forms)](part) for part in parts]
    return [shown[0] if n else None, shown[1] if n else None, shown[2] if len(corners) else None]


def changed(value: Any, chance: random.Random) -> Any:
    """A dataclass with fields of other lengths, types and values, as ``replace`` makes it."""
    names = chance.sample([f.name for f in fields(value)], chance.randint(1, 2))
    return replace(value, **{name: other(getattr(value, name), chance) for name in names})


def other(value: Any, chance: random.Random) -> Any:
    array = np.array(value)
    match chance.randrange(9) if array.dtype.kind in "biuf" else 6:
        case 0:
            found: Any = array[: len(array) // 2] if array.ndim else array[None]
        case 1:
            found = np.concatenate([array, array]) if array.ndim else np.array([array, array])
        case 2:
            found = array.astype(chance.choice(["f2", "f8", "i1", "i8", "?", "c8", "U5", "O"]))
        case 3:
            found = np.full_like(array, 1) * chance.choice([-1, 2**20, 2**31 - 1])
        case 4:
            found = array.astype(np.float32) * np.float32(chance.choice([np.nan, np.inf, 1e38, -1]))
        case 5:
            found = array[..., None]
        case 6:
            return chance.choice(
                [None, "", [], {}, 3, "x" * 999, object(), (1, 2), (-1, 5), (1e9, 3)]
            )
        case 7:
            found = array[:0] if array.ndim else array
        case _:
            found = np.asfortranarray(array)
    return mx.array(found) if isinstance(value, mx.array) and found.dtype.kind in "fiub" else found


class Objects:
    """Each takes one thing; returning, it accepted it. ValueError and OSError are refusals."""

    def __init__(self, folder: Path, model: Sam, predictor: SamPredictor, found: MaskPredictions):
        self.folder, self.model, self.predictor, self.found = folder, model, predictor, found
        self.generator = SamAutomaticMaskGenerator(model, points_per_side=4, pred_iou_thresh=0)
        self.embedding = predictor.get_image_embedding()
        self.adapter = folder / "adapter"
        self.write_adapter()

    def table(self, parts: list[Any]) -> None:
        once, again = (self.predictor.predict(*parts) for _ in range(2))
        for a, b in zip(once, again, strict=True):
            np.testing.assert_array_equal(a, b)
        assert all(np.isfinite(array).all() for array in once)

    def predictions(self, number: int) -> None:
        given = changed(self.found, random.Random(number))
        once, again = (self.generator.select(given) for _ in range(2))
        assert len(once) == len(again)
        for a, b in zip(once, again, strict=True):
            assert a["predicted_iou"] == b["predicted_iou"] and a["bbox"] == b["bbox"]

    def image_embedding(self, number: int) -> None:
        given = changed(self.embedding, random.Random(number))
        try:
            self.predictor.set_image_embedding(given)
            once, again = (self.predictor.predict([[3, 4]], [1]) for _ in range(2))
            for a, b in zip(once, again, strict=True):
                np.testing.assert_array_equal(a, b)
            assert all(np.isfinite(array).all() for array in once)
        finally:
            self.predictor.set_image_embedding(self.embedding)

    def write_adapter(self) -> None:
        self.adapter.mkdir()
        rows, columns = weights_of(self.model)[f"{TARGET}.weight"].shape
        rng = np.random.default_rng(0)
        pair = {"A": rng.normal(0, 0.1, (4, columns)), "B": rng.normal(0, 0.1, (rows, 4))}
        self.tensors = {
            f"{PREFIX}{TARGET}.lora_{name}.weight": w.astype(np.float32) for name, w in pair.items()
        }
        self.config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "rank_pattern": {},
                       "alpha_pattern": {}, "use_rslora": False, "bias": "none"}  # fmt: skip

    def adapted(self, given: tuple[dict[str, Any], int]) -> None:
        """An adapter with other settings, and with tensors that are missing, renamed or changed."""
        change, number = given
        chance, tensors = random.Random(number), dict(self.tensors)
        name = chance.choice([*tensors])
        match chance.randrange(6):
            case 0:
                del tensors[name]
            case 1:
                tensors[name] = tensors[name].astype(chance.choice(["f2", "f8", "i4", "?"]))
            case 2:
                tensors[name] = tensors[name] * np.float32(chance.choice([np.nan, np.inf, 1e38]))
            case 3:
                tensors[name.removeprefix(PREFIX)] = tensors[name] + 1
            case 4:
                tensors[name] = tensors[name].T.copy()
        save_file(tensors, self.adapter / "adapter_model.safetensors")
        (self.adapter / "adapter_config.json").write_text(json.dumps(self.config | change))
        weights = weights_of(Sam.from_pretrained("nano", adapter=self.adapter))
        assert all(mx.isfinite(w).all().item() for w in weights.values())

    def special(self, given: tuple[str, str, int]) -> None:
        """Something that is not a file of reasonable size, where one is expected."""
        kind, reader, number = given
        path = self.folder / "special" / f"{number}{special.name(random.Random(number))}"
        path.mkdir(parents=True)
        READERS[reader](path, special.KINDS[kind])
        if kind not in special.FOLDERS:
            raise AssertionError(f"{reader} took {kind}")


Reader = Callable[[Path, Callable[[Path], None]], object]  # takes a folder, and what fills it


def in_the_place_of(name: str) -> Reader:
    """A model's folder in which that is in the place of a file."""

    def load(path: Path, make: Callable[[Path], None]) -> object:
        Sam.from_pretrained("nano").save_pretrained(path / "model")
        (path / "model" / name).unlink(missing_ok=True)
        make(path / "model" / name)
        return Sam.from_pretrained(path / "model")

    return load


def at(
    name: str, read: Callable[[Path], object]
) -> Callable[[Path, Callable[[Path], None]], object]:
    def load(path: Path, make: Callable[[Path], None]) -> object:
        make(path / name)
        return read(path / name)

    return load


def shell(*arguments: str) -> Callable[[Path], object]:
    """A command with ``FILE`` and ``OUT`` in its arguments, which must end with exit code 2."""

    def run(path: Path) -> object:
        given = {"FILE": str(path), "OUT": str(path.parent / "out")}
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()) as said:
            code = main([given.get(argument, argument) for argument in arguments])
        if code == 2:
            raise ValueError(said.getvalue().removesuffix("\n"))
        return None

    return run


COINS = "examples/images/coins.png"
READERS: dict[str, Reader] = {
    "a picture": at("a.png", load_image),
    "an embedding": at("a.safetensors", ImageEmbedding.load),
    "predictions": at("a.safetensors", MaskPredictions.load),
    "weights": at("a.safetensors", Sam.from_pretrained),
    "a pickle": at("a.pth", Sam.from_pretrained),
    "a config": in_the_place_of("config.json"),
    "a model's weights": in_the_place_of("model.safetensors"),
    "a mask input": at("a.npy", shell("predict", COINS, "--mask-input", "FILE", "-o", "OUT")),
    "the picture of predict": at(
        "a.png", shell("predict", "FILE", "--point", "1", "1", "-o", "OUT")
    ),
    "a picture of auto": at("a.png", shell("auto", "FILE", "-o", "OUT")),
    "an adapter": at("a", lambda path: Sam.from_pretrained("nano", adapter=path)),
}
readers = st.tuples(
    st.sampled_from([*special.KINDS]), st.sampled_from([*READERS]), st.integers(0, 2**62)
)
