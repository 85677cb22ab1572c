"""Every public function that needs MLX, as a call: for tests of threads and of forked children."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from sam_mlx import (
    ImageEmbedding,
    InstanceSegmenter,
    MaskPredictions,
    Sam,
    SamAutomaticMaskGenerator,
    SamPredictor,
    full_size,
    masks,
    sam_model_registry,
    show,
    transforms,
)
from sam_mlx.export import export
from sam_mlx.large import Window, WindowedPrompts, open_large
from tests.support.instances import nano_with_decoder

Calls = dict[str, Callable[[], Any]]


class World:
    """The state before a call: a model, a picture, and results computed from it."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.model = Sam.from_pretrained("nano")
        self.predictor = SamPredictor(self.model)
        y, x = np.mgrid[:50, :60]
        self.image = np.stack([4 * x, 5 * y, 255 * ((x - 30) ** 2 + (y - 25) ** 2 < 100)], -1)
        self.image = self.image.astype(np.uint8)
        self.predictor.set_image(self.image)
        self.scores = self.predictor.predict([[30, 25]], [1])[1].tolist()  # export changes digits
        self.embedding = self.predictor.get_image_embedding()
        self.embedding.save(folder / "embedding.safetensors")
        self.generator = SamAutomaticMaskGenerator(
            self.model, points_per_side=3, pred_iou_thresh=0.3, stability_score_thresh=0.3
        )
        self.predictions = self.generator.predict(self.image)
        self.predictions.save(folder / "predictions.safetensors")
        self.logits = self.predictions.logits[:2] + 0
        self.in_bfloat16 = replace(
            self.predictions, logits=self.predictions.logits.astype(mx.bfloat16)
        )
        mx.eval(self.logits, self.in_bfloat16.logits)
        self.masks = np.array(self.logits > 0)
        self.segmenter = InstanceSegmenter(nano_with_decoder(), foreground_threshold=0.4)
        self.maps = self.segmenter.predict(self.image)
        self.large = SamPredictor(self.model)
        self.large.set_image(open_large(np.tile(self.image, (8, 9, 1))))  # 400 x 540
        self.windows = self.large.windows
        self.names = iter(range(1000))

    def new(self, name: str) -> Path:
        return self.folder / f"{next(self.names)}-{name}"


def lazy(values: Any) -> mx.array:
    """An unevaluated array, built in the calling thread."""
    return mx.array(values) * 1


def fresh_windows(w: World) -> WindowedPrompts:
    """Windows of a small picture, of which nothing is embedded."""
    predictor = SamPredictor(w.model)
    predictor.set_image(open_large(w.image))
    return predictor.windows


def calls(w: World) -> Calls:
    n = w.model.config.image_size
    sizes = w.predictor.input_size, w.predictor.original_size, n
    points = mx.array([[[5.0, 5.0]]]), mx.array([[1]])
    batch = [[[5, 5]], [[9, 9]]], [[1], [0]]
    return {
        "Sam.from_pretrained": lambda: Sam.from_pretrained("nano"),
        "Sam.from_pretrained dtype": lambda: Sam.from_pretrained("nano", dtype="float16"),
        "Sam.from_pretrained quantize": lambda: Sam.from_pretrained("nano", quantize=8),
        "Sam.encode_image": lambda: np.array(w.model.encode_image(mx.zeros((1, n, n, 3)))),
        "Sam.predict_masks": lambda: np.array(
            w.model.predict_masks(w.embedding.features, points)[0]
        ),
        "InstanceSegmenter.generate": lambda: w.segmenter.generate(w.image),
        "InstanceSegmenter.generate_large": lambda: list(
            w.segmenter.generate_large(w.image, 64, 16)
        ),
        "InstanceSegmenter.select apg": lambda: w.segmenter.select(w.maps, mode="apg"),
        "Sam.save_pretrained": lambda: w.model.save_pretrained(w.new("model")),
        "sam_model_registry": lambda: sam_model_registry["vit_t"](),
        "SamPredictor.from_pretrained": lambda: SamPredictor.from_pretrained("nano"),
        "SamPredictor.set_image": lambda: w.predictor.set_image(w.image),
        "SamPredictor.embed": lambda: w.predictor.embed(w.image),
        "SamPredictor.set_image_embedding": lambda: SamPredictor(w.model).set_image_embedding(
            w.embedding
        ),
        "SamPredictor.predict": lambda: w.predictor.predict([[5, 5]], [1]),
        "SamPredictor.predict lazy": lambda: w.predictor.predict(
            lazy([[5.0, 5.0]]), lazy([1]), lazy([1.0, 2.0, 30.0, 40.0]), w.logits[:1] * 1
        ),
        "SamPredictor.show": lambda: w.predictor.show(),
        "show lazy": lambda: show(
            lazy(w.image), mx.ones(w.image.shape[:2]) * 1, lazy([[5.0, 5.0]]), lazy([1])
        ),
        "SamPredictor.predict_batch": lambda: w.predictor.predict_batch(*batch),
        "SamPredictor.predict_batch lazy": lambda: w.predictor.predict_batch(*map(lazy, batch)),
        "SamPredictor.predict_each": lambda: list(w.predictor.predict_each(*batch)),
        "WindowedPrompts.predict": lambda: w.large.predict(box=[120, 60, 180, 120]),
        "WindowedPrompts.predict in a window": lambda: w.windows.predict(
            lazy([[150.0, 75.0]]), lazy([1]), window=Window(80, 0, 320, 320)
        ),
        "WindowedPrompts.predict_batch": lambda: w.large.predict_batch(*batch),
        "WindowedPrompts.predict_each": lambda: list(w.large.predict_each(*batch)),
        "WindowedPrompts.embed_tiles": lambda: fresh_windows(w).embed_tiles(w.new("tiles"), 320),
        "Generator.generate_large": lambda: list(
            w.generator.generate_large(np.tile(w.image, (2, 2, 1)), 64, 16)
        ),
        "SamPredictor.embed_prompt": lambda: w.predictor.embed_prompt(lazy([[5, 5]]), [1]),
        "Generator.from_pretrained": lambda: SamAutomaticMaskGenerator.from_pretrained("nano"),
        "Generator.generate": lambda: w.generator.generate(w.image),
        "Generator.generate embedding": lambda: w.generator.generate(w.embedding),
        "Generator.predict": lambda: w.generator.predict(w.image),
        "Generator.select": lambda: w.generator.select(w.predictions),
        "ImageEmbedding.save": lambda: w.embedding.save(w.new("embedding")),
        "ImageEmbedding.load": lambda: ImageEmbedding.load(w.folder / "embedding.safetensors"),
        "ImageEmbedding ==": lambda: w.embedding == w.predictor.get_image_embedding(),
        "MaskPredictions.save bfloat16": lambda: w.in_bfloat16.save(w.new("predictions")),
        "MaskPredictions.load": lambda: MaskPredictions.load(w.folder / "predictions.safetensors"),
        "masks.check_masks": lambda: masks.check_masks(lazy(w.masks.astype(np.float32))),
        "masks.check_masks numbers": lambda: masks.check_masks(mx.array(w.masks.astype(np.int32))),
        "masks.encode_rle": lambda: masks.encode_rle(lazy(w.masks.astype(np.float32))),
        "masks.encode_rle of a list": lambda: masks.encode_rle(
            [lazy(w.masks[0].astype(np.float32))]
        ),
        "masks.nms": lambda: masks.nms(lazy([[0.0, 0, 2, 2]]), lazy([1.0]), 0.5),
        "masks.polygons": lambda: masks.polygons(lazy(w.masks[0].astype(np.float32))),
        "masks.mask_boxes": lambda: np.array(masks.mask_boxes(w.logits > 0)),
        "masks.stability_scores": lambda: np.array(masks.stability_scores(w.logits * 1)),
        "masks.largest_mask": lambda: np.array(masks.largest_mask(w.logits > 0)),
        "masks.best_mask": lambda: np.array(masks.best_mask(w.logits > 0, np.ones(2))),
        "transforms.preprocess": lambda: np.array(transforms.preprocess(w.image, w.model.config)),
        "full_size.enlarge": lambda: full_size.enlarge(w.logits[None], *sizes),
        "transforms.upscale_masks": lambda: np.array(transforms.upscale_masks(w.logits, *sizes)),
        "lazy picture": lambda: w.predictor.embed(lazy(w.image)),
        "lazy picture for all": lambda: w.generator.generate(lazy(w.image)),
        "export": lambda: export(w.model, w.new("export"), points=1),
    }


COMPAT_WITHOUT_MLX = {"compat.amg.mask_to_rle_pytorch", "compat.amg.batched_mask_to_box"}


def compat_calls(w: World) -> Calls:
    """The calls of ``sam_mlx.compat``, which takes and returns PyTorch's tensors."""
    import torch

    from sam_mlx.compat import automatic_mask_generator, build_sam
    from sam_mlx.compat import predictor as predictors
    from sam_mlx.compat.modeling import sam as models
    from sam_mlx.compat.utils import amg

    sam = models.Sam(w.model)
    predictor = predictors.SamPredictor(sam)
    predictor.set_image(w.image)
    generator = automatic_mask_generator.SamAutomaticMaskGenerator(sam, points_per_side=2)
    weights = {name: tensor.clone() for name, tensor in sam.state_dict().items()}
    low = torch.tensor(np.array(w.logits))[None]
    sizes = predictor.input_size, predictor.original_size
    n = w.model.config.image_size
    image = torch.zeros(3, n * 3 // 4, n)
    points = torch.tensor([[[5.0, 5.0]]]), torch.tensor([[1]])
    sparse, dense = sam.prompt_encoder(points, None, None)
    pe = sam.prompt_encoder.get_dense_pe()
    features = predictor.features

    def cast() -> Any:
        other = models.Sam(Sam.from_pretrained("nano"))
        return other.half().float().bfloat16().state_dict()

    def fresh() -> Any:
        other = predictors.SamPredictor(sam)
        other.set_image(w.image)
        return other.features

    record = {"image": image, "original_size": (50, 60)}
    return {
        "compat.Sam.forward": lambda: sam([record], False),
        "compat.Sam.half": cast,
        "compat.Sam.preprocess": lambda: sam.preprocess(image),
        "compat.Sam.postprocess_masks": lambda: sam.postprocess_masks(low, *sizes),
        "compat.Sam.state_dict": sam.state_dict,
        "compat.Sam.load_state_dict": lambda: sam.load_state_dict(weights),
        "compat.Sam.parameters": lambda: list(sam.parameters()),
        "compat.image_encoder": lambda: sam.image_encoder(torch.zeros(1, 3, n, n)),
        "compat.prompt_encoder": lambda: sam.prompt_encoder(points, None, None),
        "compat.prompt_encoder.get_dense_pe": sam.prompt_encoder.get_dense_pe,
        "compat.mask_decoder": lambda: sam.mask_decoder(features, pe, sparse, dense, True),
        "compat.mask_decoder.predict_masks": lambda: sam.mask_decoder.predict_masks(
            features, pe, sparse, dense
        ),
        "compat.SamPredictor.set_image": lambda: predictors.SamPredictor(sam).set_image(w.image),
        "compat.SamPredictor.set_torch_image": lambda: predictors.SamPredictor(sam).set_torch_image(
            image[None], (50, 60)
        ),
        "compat.SamPredictor.features": fresh,
        "compat.SamPredictor.predict": lambda: predictor.predict(np.array([[5, 5]]), np.array([1])),
        "compat.SamPredictor.predict_torch": lambda: predictor.predict_torch(*points),
        "compat.Generator.generate": lambda: generator.generate(w.image),
        "compat.amg.calculate_stability_score": lambda: amg.calculate_stability_score(low, 0, 1),
        "compat.amg.batched_mask_to_box": lambda: amg.batched_mask_to_box(low > 0),
        "compat.amg.mask_to_rle_pytorch": lambda: amg.mask_to_rle_pytorch(low[0] > 0),
        "compat.sam_model_registry": lambda: build_sam.sam_model_registry["vit_t"](),
    }
