"""What is trained: decoder, LoRA or everything, as flat dictionaries of arrays."""

from __future__ import annotations

from collections.abc import Mapping

import mlx.core as mx
import numpy as np
from mlx.utils import tree_unflatten

from ..instances.segmenter import has_decoder
from ..modeling.image_encoder import ImageEncoderViT
from ..modeling.instance_decoder import PART, InstanceDecoderConfig
from ..modeling.layers import is_quantized, weights_of
from ..sam import Sam
from .options import TrainingOptions

Arrays = dict[str, mx.array]

DECODER = ("prompt_encoder.", "mask_decoder.")
FREQUENCIES = "prompt_encoder.pe_layer."  # fixed, in the original too
ENCODER = "image_encoder."
INSTANCES = f"{PART}."


class Level:
    """The decoder level: the prompt encoder's and mask decoder's weights."""

    encoder_is_trained = False

    def __init__(self, model: Sam, options: TrainingOptions):
        check_trainable(model, self.encoder_is_trained and not options.instances)
        self.model, self.options = model, options
        self.parameters: Arrays = {
            name: weight.astype(mx.float32)
            for name, weight in weights_of(model).items()
            if self.is_trained(name)
        }

    def is_trained(self, name: str) -> bool:
        if name.startswith(INSTANCES):
            return self.options.instances
        return name.startswith(DECODER) and not name.startswith(FREQUENCIES)

    def put(self, parameters: Arrays) -> None:
        """Make these the parameters, and the model's weights those that follow from them."""
        self.parameters = dict(parameters)
        self.model.update(tree_unflatten(list(self.weights().items())))

    def weights(self) -> Arrays:
        """The model's weights that follow from the parameters."""
        return self.parameters

    def gradients(self, decoder: Arrays, encoder: Mapping[str, mx.array]) -> Arrays:
        """Gradients of the parameters, from those of the decoder's and the encoder's weights."""
        return decoder


class Full(Level):
    """All weights but the fixed frequencies."""

    encoder_is_trained = True

    def is_trained(self, name: str) -> bool:
        return super().is_trained(name) or name.startswith(ENCODER)

    def gradients(self, decoder: Arrays, encoder: Mapping[str, mx.array]) -> Arrays:
        return decoder | {ENCODER + name: gradient for name, gradient in encoder.items()}


class LoRA(Level):
    """The decoder, and low-rank updates of queries and values in all blocks (Hu et al. 2021).

    W + alpha / rank * B A, where A (rank, C) is shared by queries and values, and B's rows for keys
    are zero. A begins at random, B at zero.
    """

    encoder_is_trained = True

    def __init__(self, model: Sam, options: TrainingOptions):
        if not isinstance(model.image_encoder, ImageEncoderViT):
            raise ValueError("LoRA needs a ViT image encoder; train the decoder, or full")
        super().__init__(model, options)
        self.scale = options.lora_alpha / options.lora_rank
        weights = weights_of(model)
        self.base = {
            f"{ENCODER}blocks.{i}.attn.qkv": weights[f"{ENCODER}blocks.{i}.attn.qkv.weight"]
            for i in range(len(model.image_encoder.blocks))
        }
        rng = np.random.default_rng(options.seed)
        for layer, weight in self.base.items():
            C, rank = weight.shape[1], options.lora_rank
            bound = 1 / C**0.5  # Kaiming's for sqrt(5), as peft begins
            first = rng.uniform(-bound, bound, (rank, C)).astype(np.float32)
            self.parameters[f"{layer}.lora_a"] = mx.array(first)
            for part in ("q", "v"):
                self.parameters[f"{layer}.lora_b_{part}"] = mx.zeros((C, rank))

    def factors(self, layer: str) -> tuple[mx.array, mx.array]:
        """A (rank, C) and B (3 * C, rank) of a layer."""
        q, v = (self.parameters[f"{layer}.lora_b_{part}"] for part in ("q", "v"))
        return self.parameters[f"{layer}.lora_a"], mx.concatenate([q, mx.zeros_like(q), v])

    def weights(self) -> Arrays:
        found = {name: w for name, w in self.parameters.items() if not name.startswith(ENCODER)}
        for layer, base in self.base.items():
            A, B = self.factors(layer)
            found[f"{layer}.weight"] = base + self.scale * (B @ A)
        return found

    def gradients(self, decoder: Arrays, encoder: Mapping[str, mx.array]) -> Arrays:
        found = dict(decoder)
        for layer in self.base:
            A, B = self.factors(layer)
            gradient = self.scale * encoder[f"{layer.removeprefix(ENCODER)}.weight"]
            found[f"{layer}.lora_a"] = B.T @ gradient
            q, _, v = mx.split(gradient @ A.T, 3)
            found |= {f"{layer}.lora_b_q": q, f"{layer}.lora_b_v": v}
        return found

    def adapter(self) -> Arrays:
        """The tensors of peft's ``adapter_model.safetensors``."""
        found: Arrays = {}
        for layer in self.base:
            A, B = self.factors(layer)
            prefix = f"base_model.model.{layer}"
            found |= {f"{prefix}.lora_A.weight": A, f"{prefix}.lora_B.weight": B}
        return found


LEVELS = {"decoder": Level, "lora": LoRA, "full": Full}


def check_trainable(model: Sam, is_left_behind: bool) -> None:
    """is_left_behind: whether an instance decoder would keep answering an encoder that changes."""
    kinds = [sizes.type for sizes in model.config.decoders]
    if not {"sam"} <= set(kinds) <= {"sam", InstanceDecoderConfig.type}:
        raise ValueError(
            f"the model has the decoders {kinds}; only SAM's own and that for instances can be "
            "fine-tuned"
        )
    if is_left_behind and has_decoder(model):
        raise ValueError(
            "the model has an instance decoder, which depends on the encoder: --instances trains "
            "it along, or --train decoder leaves both as they are"
        )
    if is_quantized(model):
        raise ValueError("the model has weights in 8 bits; fine-tune the one it was made from")
