"""CVAT's automatic annotation: ``cvat-cli ... --function-module sam_mlx.cvat``.

``create`` makes a function of CVAT's SDK: one that finds everything in a picture, for ``cvat-cli
task auto-annotate`` and agents, or with ``interactive`` one that is asked with points and a box,
for agents of CVAT Online and Enterprise. Masks are those of this package, pixel for pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .automatic.generator import SamAutomaticMaskGenerator
from .embedding import ImageEmbedding
from .instances.segmenter import InstanceSegmenter, has_decoder
from .masks import Record, decode_rle, encode_rle, outlines, rle_area, rle_bbox
from .predictor import SamPredictor
from .prompts import is_ambiguous
from .sam import Sam

LABEL = 0  # the number of the one label


def create(
    model: str = "nano", interactive: bool = False, label: str = "object", **options: Any
) -> Detector | Interactor:
    """A function as CVAT's tools load it; in the shell ``-p model=str:vit_b.pth``.

    model: what ``Sam.from_pretrained`` takes. label: the name of the label in the task that masks
    get. options: arguments of ``SamAutomaticMaskGenerator``. Raises ImportError without cvat-sdk.
    """
    needed()
    sam = Sam.from_pretrained(model)
    return Interactor(sam) if interactive else Detector(sam, label, options)


def needed() -> Any:
    try:
        import cvat_sdk.auto_annotation as cvataa
        import cvat_sdk.masks  # noqa: F401
    except ImportError as error:
        raise ImportError(f"{error.name} is not installed: pip install cvat-sdk cvat-cli") from None
    return cvataa


class Detector:
    """Everything in a picture (``cvat_sdk.auto_annotation.DetectionFunction``): by the model's
    instance decoder, if it has one and no options are given, or else by a grid of points.
    """

    def __init__(self, sam: Sam, label: str, options: dict[str, Any]):
        self.by_instances = has_decoder(sam) and not options
        self.model: Any = (
            InstanceSegmenter(sam)
            if self.by_instances
            else SamAutomaticMaskGenerator(sam, **options)
        )
        cvataa = needed()
        self.spec = cvataa.DetectionFunctionSpec(labels=[cvataa.label_spec(label, LABEL)])

    def detect(self, context: Any, image: Any) -> Sequence[Any]:
        """Masks, or polygons where the context asks for those; ``conf_threshold`` is compared with
        the predicted IoU.
        """
        self.model.output_mode = "coco_rle"
        records = self.model.generate(image)
        least = context.conf_threshold
        found = [r for r in records if least is None or r["predicted_iou"] >= least]
        make = polygons_of if context.conv_mask_to_poly else masks_of
        return [shape for record in found for shape in make(record)]


def masks_of(record: Record) -> list[Any]:
    points = mask_points(record["segmentation"])
    return [needed().mask(LABEL, points)] if points else []


def polygons_of(record: Record) -> list[Any]:
    """The regions of a mask, without holes, which CVAT's polygons do not have."""
    regions = outlines(decode_rle([record["segmentation"]])[0])
    return [needed().polygon(LABEL, ring.astype(float).ravel().tolist()) for ring, *_ in regions]


def mask_points(rle: dict[str, Any]) -> list[float]:
    """A mask as CVAT has it: run lengths in its box, then the box. None for an empty one."""
    from cvat_sdk.masks import encode_mask

    if not rle_area(rle):
        return []
    x, y, width, height = rle_bbox(rle)
    found: list[float] = encode_mask(decode_rle([rle])[0], [x, y, x + width, y + height])
    return found


class Interactor:
    """The mask of points and a box (``cvat_sdk.auto_annotation.InteractionFunction``). CVAT's agent
    keeps what ``preprocess_image`` gives, so that a picture is encoded once.
    """

    def __init__(self, sam: Sam):
        self.predictor = SamPredictor(sam)
        self.spec = needed().InteractionFunctionSpec(
            min_pos_points=0, min_neg_points=0, min_bounding_boxes=0
        )

    def preprocess_image(self, context: Any, image: Any) -> ImageEmbedding:
        return self.predictor.embed(image)

    def detect(self, context: Any, pp_image: ImageEmbedding, prompts: Any) -> list[Any]:
        """The best mask, its predicted IoU as confidence. Raises ValueError without a prompt."""
        self.predictor.set_image_embedding(pp_image)
        prompt = prompt_of(prompts)
        masks, scores, _ = self.predictor.predict(**prompt, multimask_output=is_ambiguous(**prompt))
        return result_of(masks[scores.argmax()], float(scores.max()))


def prompt_of(prompts: Any) -> dict[str, Any]:
    points = [*prompts.pos_points, *prompts.neg_points]
    labels = [1] * len(prompts.pos_points) + [0] * len(prompts.neg_points)
    prompt: dict[str, Any] = {"point_coords": points, "point_labels": labels} if points else {}
    if prompts.bounding_box is not None:
        prompt["box"] = np.array(prompts.bounding_box, float).ravel()
    if not prompt:
        raise ValueError("no prompt: give points or a box")
    return prompt


def result_of(mask: np.ndarray, score: float) -> list[Any]:
    from cvat_sdk import models

    cvataa = needed()
    points = mask_points(encode_rle(mask[None])[0])
    if not points:
        return []
    confidence = models.AttributeValRequest(
        spec_id=int(cvataa.InteractionResultAttributes.CONFIDENCE),
        value=str(min(max(score, 0.0), 1.0)),
    )
    shape = cvataa.InteractionResultShape(type="mask", points=points, attributes=[confidence])
    return [shape]
