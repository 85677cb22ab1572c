"""``segment_anything_hq.modeling``, with those of its files that differ from Meta's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import mlx.core as mx

from ...machine.streams import clear_cache
from ...machine.worker import long_work
from ...modeling.hq_decoder import HQ_FEATURES
from ...registry import EARLY, IMAGE_EMBEDDING, Features
from .. import modeling
from ..missing import stand_in, unknown
from ..modeling import MaskDecoder, PromptEncoder, TwoWayTransformer
from ..modeling.prompt_encoder import Points
from ..tensors import at_work, channels_first, channels_last, to_mlx, to_tensor

__all__ = [
    "ImageEncoderViT",
    "MaskDecoder",
    "MaskDecoderHQ",
    "PromptEncoder",
    "Sam",
    "TinyViT",
    "TwoWayTransformer",
]


class ImageEncoderViT(modeling.ImageEncoderViT):
    def forward(self, x: Any) -> tuple[Any, list[Any]]:
        """Prepared images (B, 3, S, S) to embeddings (B, C, G, G), and early features.

        Of these, the original gives one tensor (B, G, G, width) for each global block, of which
        SAM-HQ's decoder reads the first: only that one is here.
        """
        features = self.encode(channels_last(x))
        early = to_tensor(features[EARLY], self.device)
        return channels_first(features[IMAGE_EMBEDDING], self.device), [early]

    @long_work
    def encode(self, images: mx.array) -> Any:
        """(B, S, S, 3) to features by name, evaluated."""
        sam = self.sam.mlx
        features = sam.image_encoder(images.astype(sam.dtype), (IMAGE_EMBEDDING, EARLY))
        mx.eval(features)
        clear_cache()  # the encoder's temporaries
        return features


TinyViT = ImageEncoderViT


class MaskDecoderHQ(MaskDecoder):
    @property
    def num_mask_tokens(self) -> int:
        """SAM's and SAM-HQ's."""
        return self.num_multimask_outputs + 2

    def forward(  # type: ignore[override]
        self,
        image_embeddings: Any,
        image_pe: Any,
        sparse_prompt_embeddings: Any,
        dense_prompt_embeddings: Any,
        multimask_output: bool,
        hq_token_only: bool,
        interm_embeddings: Any,
    ) -> tuple[Any, Any]:
        """Mask logits (B, 1, 4G, 4G) and predicted IoU (B, 1).

        image_embeddings, image_pe: (1, C, G, G); sparse_prompt_embeddings: (B, N, C);
        dense_prompt_embeddings: (B, C, G, G); interm_embeddings: what the image encoder gives
        beside the embedding, or its first entry (1, G, G, width) with one axis more.
        """
        dtype = self.sam.mlx.dtype
        image = channels_last(image_embeddings, dtype)
        features = self.prepare(
            {IMAGE_EMBEDDING: image, EARLY: to_mlx(interm_embeddings[0], dtype)}
        )
        prompts = image_pe, sparse_prompt_embeddings, dense_prompt_embeddings
        return self._tensors(
            features, *prompts, bool(multimask_output), self.answers(hq_token_only)
        )

    def predict_masks(  # type: ignore[override]
        self,
        image_embeddings: Any,
        image_pe: Any,
        sparse_prompt_embeddings: Any,
        dense_prompt_embeddings: Any,
        hq_features: Any,
    ) -> tuple[Any, Any]:
        """SAM's four masks, the single one first, then SAM-HQ's; and predicted IoU (B, 4).

        hq_features: (1, C/8, 4G, 4G).
        """
        dtype = self.sam.mlx.dtype
        both = self.sam.mlx.mask_decoder.both

        def all_masks(*inputs: Any) -> tuple[mx.array, mx.array]:
            masks, hq_masks, iou = both(*inputs)
            return mx.concatenate([masks, hq_masks], axis=1), iou

        features = {
            IMAGE_EMBEDDING: channels_last(image_embeddings, dtype),
            HQ_FEATURES: channels_last(hq_features, dtype),
        }
        prompts = image_pe, sparse_prompt_embeddings, dense_prompt_embeddings
        return self._tensors(features, *prompts, None, all_masks)

    @at_work
    def _tensors(
        self,
        features: Features,
        pe: Any,
        sparse: Any,
        dense: Any,
        wanted: bool | None,
        decoder: Callable[..., tuple[mx.array, mx.array]],
    ) -> tuple[Any, Any]:
        dtype = self.sam.mlx.dtype
        prompts = channels_last(pe, dtype)[:1], to_mlx(sparse, dtype), channels_last(dense, dtype)
        masks, iou = self.decode(features, *prompts, wanted, decoder)
        return to_tensor(masks, self.device), to_tensor(iou, self.device)

    def answers(self, hq_token_only: bool) -> Callable[..., tuple[mx.array, mx.array]]:
        """The model's decoder, with or without SAM's masks."""
        return partial(self.sam.mlx.mask_decoder, hq_token_only=bool(hq_token_only))

    def prepare(self, features: Features) -> Features:
        """The features that the decoder takes, evaluated, from those of the image encoder."""
        taken = self.sam.mlx.mask_decoder.prepare(features)
        mx.eval(taken)
        return {IMAGE_EMBEDDING: features[IMAGE_EMBEDDING], **taken}


class Sam(modeling.Sam):
    """A ``sam_mlx.Sam`` that is SAM-HQ, with the names, tensors and layouts of SysCV's."""

    package = "segment_anything_hq"
    takes = (IMAGE_EMBEDDING, HQ_FEATURES)
    encoder = ImageEncoderViT
    decoder = MaskDecoderHQ
    mask_decoder: MaskDecoderHQ

    def forward(
        self,
        batched_input: Sequence[dict[str, Any]],
        multimask_output: bool,
        hq_token_only: bool = False,
    ) -> list[dict[str, Any]]:
        """As Meta's, with one mask for each prompt."""
        images = mx.concatenate([self.prepare(record["image"][None]) for record in batched_input])
        encoded: Any = self.image_encoder.encode(images)
        features = self.mask_decoder.prepare(encoded)
        return [
            self._answer(
                {name: x[i : i + 1] for name, x in features.items()},
                record,
                multimask_output,
                hq_token_only=hq_token_only,
            )
            for i, record in enumerate(batched_input)
        ]

    def predict(  # type: ignore[override]
        self,
        features: Features,
        points: Points,
        boxes: Any,
        masks: Any,
        multimask_output: bool,
        hq_token_only: bool = False,
    ) -> tuple[mx.array, mx.array]:
        """Logits (B, 1, n, n) and IoU (B, 1), evaluated, for prompts on one picture's features."""
        sparse, dense = self.prompt_encoder.embed(points, boxes, masks)
        pe = self.mlx.prompt_encoder.get_dense_pe()
        named = {name: x.astype(self.mlx.dtype) for name, x in features.items()}
        self.mlx.check_features(named, len(sparse))
        decoder = self.mask_decoder.answers(hq_token_only)
        settings = bool(multimask_output), decoder
        return self.told(named, self.mask_decoder.decode(named, pe, sparse, dense, *settings))


INSTEAD = "sam_mlx.modeling has the same in MLX"
MLP = stand_in("MLP", INSTEAD)
LayerNorm2d = stand_in("LayerNorm2d", INSTEAD)
__getattr__ = unknown(__name__, "segment_anything_hq 0.3")
