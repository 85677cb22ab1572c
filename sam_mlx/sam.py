"""The whole model: image encoder, prompt encoder, decoders; from a checkpoint and back."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn

from .arrays import are_finite
from .checkpoints.card import Origin
from .checkpoints.load import Checkpoint, load
from .checkpoints.locate import resolve
from .checkpoints.options import LoadOptions
from .checkpoints.save import precision, write_card, write_checkpoint
from .config import SamConfig, check
from .files import user_path, whole_folder
from .machine.advice import warn_about
from .machine.streams import enter
from .messages import escaping, short
from .modeling import (  # noqa: F401  they register themselves
    hq_decoder,
    image_encoder,
    instance_decoder,
    mask_decoder,
    tiny_vit,
)
from .modeling.hq_decoder import MaskDecoderHQ
from .modeling.prompt_encoder import PromptEncoder, check_labels
from .options import check_flag
from .registry import (
    IMAGE_EMBEDDING,
    VARIANTS,
    Features,
    check_parts,
    decoders_of,
    encoder_of,
    mask_decoder_of,
    without_other_decoders,
)


def check_model(model: object, asks: type) -> None:
    """Raise TypeError for what is not a model, such as a model's name."""
    if not isinstance(model, Sam):
        hint = f": {asks.__name__}.from_pretrained({model!r})" if isinstance(model, str) else ""
        raise TypeError(f"{asks.__name__} takes a Sam, not {short(model)}{hint}")


class Sam(nn.Module):
    """Segment Anything. Its methods are pure; ``SamPredictor`` remembers an image."""

    mask_threshold = 0.0
    image_format = "RGB"

    def __init__(self, config: SamConfig):
        super().__init__()
        check_parts(config)
        check(config)
        self.config = config
        self.image_encoder = encoder_of(config).module(config)
        self.prompt_encoder = PromptEncoder(config)
        for kind in decoders_of(config):
            setattr(self, kind.part, kind.module(config))

    def __repr__(self) -> str:
        config, S, G = self.config, self.config.image_size, self.config.grid
        sizes = f"{S} x {S} pixels, {G} x {G} cells of {config.prompt_dim} channels"
        decoders = " and ".join(sizes.type for sizes in config.decoders)
        weights = precision(self, self.dtype)
        return f"Sam({config.variant}: {sizes}, {weights}, decoder {decoders})"

    @property
    def dtype(self) -> mx.Dtype:
        """The precision of weights and activations."""
        return self.prompt_encoder.dtype

    def encode_image(self, images: mx.array) -> mx.array:
        """Embed images that ``transforms.preprocess`` has prepared.

        images: (B, S, S, 3), normalised and padded, S = ``config.image_size``.
        Returns (B, G, G, C), G = ``config.grid``, C = ``config.prompt_dim``. Raises ValueError for
        images of another shape.
        """
        return self.encode_features(images)[IMAGE_EMBEDDING]

    def encode_features(self, images: mx.array) -> Features:
        """All features of images that the model's decoders take, by name.

        images: as in ``encode_image``. SAM's own decoder takes the image embedding alone.
        """
        enter()
        size = self.config.image_size
        if images.ndim != 4 or images.shape[1:] != (size, size, 3):
            raise ValueError(
                f"images have shape {images.shape}; expected (B, {size}, {size}, 3): "
                "prepare them with transforms.preprocess"
            )
        check_finite("images", images)
        kinds = decoders_of(self.config)
        needed = {IMAGE_EMBEDDING, *(name for kind in kinds for name in kind.needs)}
        features = self.image_encoder(images.astype(self.dtype), needed)
        for kind in kinds:
            if kind.prepare is not None:
                features = {**features, **kind.prepare(getattr(self, kind.part), features)}
        taken = [IMAGE_EMBEDDING, *(name for kind in kinds for name in kind.takes)]
        return {name: features[name] for name in taken}

    def predict_masks(
        self,
        image_embedding: mx.array | Features,
        points: tuple[mx.array, mx.array] | None = None,
        boxes: mx.array | None = None,
        masks: mx.array | None = None,
        multimask_output: bool | None = True,
        image_pe: mx.array | None = None,
        hq_token_only: bool = False,
    ) -> tuple[mx.array, mx.array]:
        """Masks for B prompts on one image, given in the model's input frame.

        image_embedding: (1, G, G, C), or all that ``encode_features`` returns for one image.
        points: coordinates (B, N, 2) as x, y in pixels of the input frame, and labels (B, N): 1
        foreground, 0 background, -1 not a point, -2 an empty slot, which changes nothing. boxes:
        (B, 4) as x0, y0, x1, y1. masks: (B, 1, 4G, 4G) logits of an earlier prediction. image_pe:
        ``prompt_encoder.get_dense_pe()``, if already computed. hq_token_only: of SAM-HQ, its own
        mask without SAM's. Without any prompt B is 1. Memory grows by 40 MB a prompt in ViT-B;
        ``decoding.decode_in_parts`` bounds it.

        Returns logits (B, M, 4G, 4G), M = 3 or 1, with SAM-HQ always 1, and predicted IoU (B, M).
        Raises ValueError for other labels and shapes, for parts that differ in B, for features that
        are missing, for NaN and infinities, and for hq_token_only with a model that is not SAM-HQ.
        """
        enter()
        features = self.features_of(image_embedding)
        self._check_prompts(points, boxes, masks)
        self.check_features(features, self._number_of_prompts(points, boxes, masks))
        for name, x in features.items():
            check_finite(name, x)
        three = check_flag(multimask_output, "multimask_output")
        return self.decode(features, points, boxes, masks, three, image_pe, hq_token_only)

    def decode(
        self,
        image_embedding: mx.array | Features,
        points: tuple[mx.array, mx.array] | None,
        boxes: mx.array | None,
        masks: mx.array | None,
        multimask_output: bool | None,
        image_pe: mx.array | None,
        hq_token_only: bool = False,
    ) -> tuple[mx.array, mx.array]:
        """``predict_masks`` for labels already checked: it copies none to the host."""
        features = self.features_of(image_embedding)
        settings = {"hq_token_only": True} if self.has_hq_token(hq_token_only) else {}
        B = self._number_of_prompts(points, boxes, masks)
        sparse, valid, dense = self.prompt_encoder.embed(points, boxes, masks)
        if len(sparse) != B:  # mask prompts alone
            sparse = mx.broadcast_to(sparse, (B, *sparse.shape[1:]))
            valid = mx.broadcast_to(valid, (B, valid.shape[1]))
        return self.mask_decoder(
            {name: x.astype(self.dtype) for name, x in features.items()},
            self.prompt_encoder.get_dense_pe() if image_pe is None else image_pe,
            sparse,
            valid,
            dense,
            multimask_output,
            **settings,
        )

    def has_hq_token(self, wanted: bool) -> bool:
        """``wanted``. Raises ValueError if it is, and the model has no such token."""
        if wanted and not isinstance(self.mask_decoder, MaskDecoderHQ):
            raise ValueError(
                f"hq_token_only is for SAM-HQ; decoder {mask_decoder_of(self.config).sizes.type!r} "
                "of this model has no such token: leave it out"
            )
        return wanted

    def features_of(self, image_embedding: mx.array | Features) -> Features:
        """The features that the mask decoder takes. Raises ValueError if one is missing."""
        given = image_embedding
        features = {IMAGE_EMBEDDING: given} if isinstance(given, mx.array) else given
        kind = mask_decoder_of(self.config)
        if missing := sorted(set(kind.takes) - features.keys()):
            raise ValueError(
                f"decoder {kind.sizes.type!r} needs the features {missing}, which are not given: "
                "pass all that encode_features returns, or embed the image again"
            )
        return {name: features[name] for name in kind.takes}

    def _check_prompts(
        self,
        points: tuple[mx.array, mx.array] | None,
        boxes: mx.array | None,
        masks: mx.array | None,
    ) -> None:
        """Raise ValueError for prompts of other shapes, labels outside the table, NaN, infinities:
        what only fits by chance would be taken for other prompts.
        """
        n = self.config.mask_size
        coords, labels = points or (None, None)
        N = -1  # fits any length
        if isinstance(labels, mx.array) and labels.ndim:
            check_labels(labels)
            N = labels.shape[-1]
        forms: dict[str, tuple[mx.array | None, tuple[int, ...]]] = {
            "labels": (labels, (-1, N)), "point coordinates": (coords, (-1, N, 2)),
            "boxes": (boxes, (-1, 4)), "masks": (masks, (-1, 1, n, n)),
        }  # fmt: skip
        for name, (x, form) in forms.items():
            if x is not None:
                check_form(name, x, form)
                check_finite(name, x)

    def check_features(self, features: Features, B: int) -> None:
        """Raise ValueError for features of other sizes than the model's, or not for B prompts."""
        G, C = self.config.grid, self.config.prompt_dim
        for name, x in features.items():
            if name == IMAGE_EMBEDDING:
                check_form(name, x, (-1, G, G, C))
            if len(x) not in (1, B):
                raise ValueError(f"{name} is of {len(x)} images; expected 1, or one a prompt")

    @staticmethod
    def _number_of_prompts(
        points: tuple[mx.array, mx.array] | None, boxes: mx.array | None, masks: mx.array | None
    ) -> int:
        prompts = [p for p in (points and points[0], boxes, masks) if p is not None]
        sizes = {len(p) for p in prompts} or {1}
        if len(sizes) > 1:
            raise ValueError(f"prompts have different batch sizes {sorted(sizes)}")
        return sizes.pop()

    @classmethod
    def from_pretrained(
        cls,
        path_or_repo: str | Path,
        *,
        dtype: mx.Dtype | str | None = None,
        quantize: int | None = None,
        revision: str | None = None,
        adapter: str | Path | None = None,
        image_size: int | None = None,
        preprocess: str | None = None,
    ) -> Sam:
        """Load a model, with all its weights evaluated.

        path_or_repo: "nano" (part of the package), a folder, a .safetensors or .pth file, or a
        Hugging Face repository such as "facebook/sam-vit-base", which is downloaded once and then
        served from the hub's cache, also offline. It may have this package's format, Hugging Face's
        SAM layout, or Meta's, MobileSAM's or SAM-HQ's names, inside any wrapper that trainers add.

        dtype: casts the weights ("float16", ...); by default they keep the type they are stored in.
        quantize: 8 stores the weights of the image encoder's linear layers in 8 bits; a model saved
        that way loads that way. revision: a branch, tag or commit of the hub. adapter: a folder or
        hub repository of a LoRA adapter that peft made for this model, merged into the weights in
        float32. image_size: another side of the model's input, for which its positions are
        interpolated. preprocess: a name in ``config.PREPROCESSING``, such as "medsam", for
        checkpoints that do not say how pictures are to be prepared.

        Raises FileNotFoundError if nothing is there, ValueError if it is not a SAM model, or if the
        adapter does not fit.

        >>> from sam_mlx import Sam
        >>> Sam.from_pretrained("nano")
        Sam(nano: 320 x 320 pixels, 40 x 40 cells of 128 channels, float32, decoder sam)
        """
        options = LoadOptions.of(
            dtype=dtype, quantize=quantize, revision=revision, adapter=adapter,
            image_size=image_size, preprocess=preprocess,
        )  # fmt: skip
        return cls.load(path_or_repo, options)

    @classmethod
    @escaping()
    def load(cls, path_or_repo: str | Path, options: LoadOptions) -> Sam:
        """``from_pretrained`` with its keyword arguments as one value."""
        model = cls.from_checkpoint(resolve(path_or_repo, options.revision), options)
        warn_about(model.dtype, stacklevel=3)
        return model

    @classmethod
    @escaping()
    def from_checkpoint(
        cls, checkpoint: Path | Checkpoint, options: LoadOptions | None = None
    ) -> Sam:
        """A model with exactly the weights of a folder, a file, or a checkpoint in memory.

        Raises ValueError naming every tensor that does not fit.
        """
        options = options or LoadOptions()
        adapter = None if options.adapter is None else resolve(options.adapter)
        return load(cls, checkpoint, options, adapter)

    def save_pretrained(
        self, folder: str | Path, *, base_model: str | None = None, license: str | None = None
    ) -> None:
        """Write ``config.json``, ``model.safetensors`` and ``README.md``, a model card.

        base_model: the hub repository that the weights were made from; license: its identifier
        there; both for the card. The folder appears whole or not at all. Raises FileExistsError if
        something is there already, ValueError for a malformed name.
        """
        origin = Origin(base_model, license)
        with whole_folder(folder) as temporary:
            write_checkpoint(temporary, self, self.config)
            write_card(temporary, user_path(folder).name, self, self.config, origin)


def check_form(name: str, x: object, form: tuple[int, ...]) -> None:
    """Raise ValueError for other shapes, in which -1 is any length."""
    if not isinstance(x, mx.array):
        raise ValueError(f"{name} is of type {type(x).__name__}; expected mx.array")
    if x.ndim != len(form) or any(want not in (-1, has) for want, has in zip(form, x.shape)):
        raise ValueError(f"{name} has shape {x.shape}; expected {form}, with any length for -1")


def check_finite(name: str, x: mx.array) -> None:
    """Raise ValueError for NaN and infinities."""
    if not are_finite([x]):
        raise ValueError(f"{name} holds NaN or infinite values")


def build_sam(variant: str, checkpoint: str | Path | None = None) -> Sam:
    """The model of a released variant, from its checkpoint or with random weights."""
    if checkpoint is None:
        enter()
        model = Sam(VARIANTS[variant])
        mx.eval(model.parameters())
        model.eval()
        return model
    model = Sam.from_pretrained(checkpoint)
    if without_other_decoders(model.config) != VARIANTS[variant]:
        raise ValueError(f"{checkpoint} is a SAM {model.config.variant}, not {variant}")
    return model


sam_model_registry: dict[str, Callable[..., Sam]] = {
    **{name: partial(build_sam, name) for name in VARIANTS},
    "default": partial(build_sam, "vit_h"),
}
