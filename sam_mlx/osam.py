"""osam's models on MLX, for labelme: ``python -m sam_mlx.osam labelme``.

labelme asks osam for its models by name. ``install`` puts ours in place of osam's three sizes of
Meta's SAM; others of its menu stay osam's own.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Sequence
from typing import Any

import mlx.core as mx
import numpy as np

from .checkpoints.options import LoadOptions
from .embedding import ImageEmbedding
from .machine.worker import at_work
from .messages import one_line
from .modeling.layers import weights_of
from .predictor import SamPredictor
from .prompts import is_ambiguous
from .registry import IMAGE_EMBEDDING, decoders_of
from .sam import Sam
from .transforms import input_size

# What osam's names stand for.
MODELS = {
    "sam:100m": "facebook/sam-vit-base",
    "sam:300m": "facebook/sam-vit-large",
    "sam:latest": "facebook/sam-vit-huge",
}
BOX_LABELS = (2, 3)  # of a box's corners, upper left and lower right
USAGE = """usage: python -m sam_mlx.osam [name=model ...] program [argument ...]

Runs a Python program that uses osam, such as labelme, with Meta's SAM on sam_mlx. name=model says
what one of osam's names stands for, as sam:100m=sam_vit_b_01ec64.pth; by default sam:100m is
facebook/sam-vit-base, sam:300m -large and sam:latest -huge, which are downloaded once.
"""


def install(models: dict[str, str] | None = None) -> None:
    """Have osam give our models by these names.

    models: what ``Sam.from_pretrained`` takes, by osam's names; those that are missing are MODELS'.
    Raises ImportError without osam, ValueError for names that osam does not have.
    """
    try:
        import osam.apis
    except ImportError as error:
        raise ImportError(f"{error.name} is not installed: pip install osam labelme") from None
    named = MODELS | (models or {})
    registered = osam.apis.registered_model_types
    places = {kind.name: i for i, kind in enumerate(registered)}
    if unknown := named.keys() - places.keys():
        raise ValueError(f"osam has no {', '.join(sorted(unknown))}; it has {', '.join(places)}")
    for name, origin in named.items():
        registered[places[name]] = model_type(name, origin, registered[places[name]].metadata)


def model_type(name: str, origin: str, metadata: Any) -> Any:
    """A subclass of ``osam.types.Model`` with our model behind it, loaded when it is first used."""
    import osam.types

    predictor = Lazy(origin)
    methods = {
        "__init__": lambda self: predictor.fetch(),
        "encode_image": lambda self, image: encode(predictor.load(), image),
        "generate": lambda self, request: generate(predictor.load(), self, request),
        "pull": classmethod(lambda cls, *_, **__: predictor.fetch()),
        "remove": classmethod(lambda cls: None),
        "get_id": classmethod(lambda cls: predictor.load().fingerprint[:12]),
        "get_size": classmethod(lambda cls: predictor.nbytes),
        "get_modified_at": classmethod(lambda cls: None),
    }
    fields = {"name": name, "metadata": metadata, "_blobs": {}, "__doc__": f"{origin} on MLX."}
    return type("MlxSam", (osam.types.Model,), {**fields, **methods})


class Lazy:
    """A model that is loaded once."""

    def __init__(self, origin: str):
        self.origin = origin
        self.predictor: SamPredictor | None = None

    def load(self) -> SamPredictor:
        if self.predictor is None:
            self.predictor = SamPredictor(Sam.load(self.origin, LoadOptions()))
        return self.predictor

    def fetch(self) -> None:
        self.load()

    @property
    def nbytes(self) -> int | None:
        """None before it is loaded: then labelme shows that it is being fetched."""
        if self.predictor is None:
            return None
        return sum(w.nbytes for w in weights_of(self.predictor.model).values())


def encode(predictor: SamPredictor, image: np.ndarray) -> Any:
    """osam's embedding of a picture (H, W, 3), whose features are (C, G, G)."""
    import osam.types

    if image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"the image has shape {image.shape}; expected (H, W, 3)")
    found = predictor.embed(image)
    first, *others = (channels_first(x) for x in ordered(found).values())
    height, width = found.original_size
    return osam.types.ImageEmbedding(
        original_height=height, original_width=width, embedding=first, extra_features=others
    )


def ordered(found: ImageEmbedding) -> dict[str, mx.array]:
    """Features by name, SAM's own first."""
    others = {name: x for name, x in found.named_features.items() if name != IMAGE_EMBEDDING}
    return {IMAGE_EMBEDDING: found.features, **dict(sorted(others.items()))}


@at_work
def channels_first(x: mx.array) -> np.ndarray:
    return np.array(x[0].astype(mx.float32).transpose(2, 0, 1))


@at_work
def embedding_of(predictor: SamPredictor, given: Any) -> ImageEmbedding:
    """Our embedding of osam's. Raises ValueError for one of another model."""
    size = given.original_height, given.original_width
    arrays = [given.embedding, *given.extra_features]
    dtype = predictor.model.dtype
    features = [mx.array(a.transpose(1, 2, 0)[None]).astype(dtype) for a in arrays]
    names = [IMAGE_EMBEDDING, *sorted(others_of(predictor))]
    if len(names) != len(features):
        raise ValueError(f"the embedding has {len(features)} features; expected {len(names)}")
    frame = input_size(size, predictor.model.config)
    return ImageEmbedding.of(dict(zip(names, features)), size, frame, predictor.fingerprint, None)


def others_of(predictor: SamPredictor) -> list[str]:
    """The names of the features that the model's decoder takes beside SAM's own."""
    takes = {name for kind in decoders_of(predictor.model.config) for name in kind.takes}
    return [name for name in takes if name != IMAGE_EMBEDDING]


def generate(predictor: SamPredictor, model: Any, request: Any) -> Any:
    """The best mask of a request's points and box, cut out at its box."""
    import osam.types

    given = request.image_embedding or encode(predictor, request.image)
    prompt = prompt_of(request.prompt, given)
    predictor.set_image_embedding(embedding_of(predictor, given))
    masks, scores, _ = predictor.predict(**prompt, multimask_output=is_ambiguous(**prompt))
    best = int(scores.argmax())
    return osam.types.GenerateResponse(
        model=model.name,
        image_embedding=given,
        annotations=annotations_of(masks[best], float(scores[best])),
    )


def prompt_of(prompt: Any, given: Any) -> dict[str, Any]:
    """The arguments of ``SamPredictor.predict``; without a prompt the middle, as osam has it."""
    if prompt is None:
        middle = [[given.original_width / 2, given.original_height / 2]]
        return {"point_coords": middle, "point_labels": [1]}
    if prompt.points is None or prompt.point_labels is None:
        raise ValueError("the prompt has no points; SAM takes no texts")
    points, labels = np.asarray(prompt.points, float), np.asarray(prompt.point_labels)
    is_corner = np.isin(labels, BOX_LABELS)
    found: dict[str, Any] = {}
    if not is_corner.all():
        found = {"point_coords": points[~is_corner], "point_labels": labels[~is_corner]}
    if is_corner.any():
        corners = points[is_corner]
        if len(corners) != 2:
            raise ValueError(f"the prompt has {len(corners)} corners of boxes; expected 2")
        found["box"] = np.concatenate([corners.min(axis=0), corners.max(axis=0)])
    return found


def annotations_of(mask: np.ndarray, score: float) -> list[Any]:
    import osam.types

    if not mask.any():
        return []
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    y0, y1, x0, x1 = int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])
    box = osam.types.BoundingBox(xmin=x0, ymin=y0, xmax=x1, ymax=y1)
    part = np.ascontiguousarray(mask[y0 : y1 + 1, x0 : x1 + 1])
    return [osam.types.Annotation(mask=part, bounding_box=box, score=score)]


def main(words: Sequence[str]) -> None:
    """Run a program with our models. Ends as the program does."""
    rest, models = list(words), {}
    while rest and "=" in rest[0] and not rest[0].startswith("-"):
        name, _, origin = rest.pop(0).partition("=")
        models[name] = origin
    if not rest or rest[0].startswith("-"):
        sys.exit(USAGE)
    try:
        install(models)
    except (ImportError, ValueError) as error:
        sys.exit(f"sam_mlx.osam: {one_line(error)}")
    sys.argv = rest
    runpy.run_module(rest[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
