"""Gradients of the image encoder, a stage at a time: half a block of a ViT, or a block of TinyViT.

Only the inputs of stages are kept from the way forward; each is computed again on the way back, so
that memory holds the activations of one. A ViT has halves, as the MLP's gelu needs values while MLX
notes what is computed, and would have it keep all scores of the attention before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_unflatten

from ..machine.streams import lazily
from ..modeling.layers import apply_neck, weights_of
from ..modeling.tiny_vit import TinyViT


@dataclass(frozen=True)
class Stage:
    """A part of an encoder, which maps one array to one."""

    run: Callable[[mx.array], mx.array]
    prefixes: tuple[str, ...]  # of the names of its weights in the encoder


def stages_of(encoder: nn.Module) -> list[Stage]:
    """The stages of an encoder in order."""
    return list(of_tiny_vit(encoder) if isinstance(encoder, TinyViT) else of_vit(encoder))


def of_vit(encoder: nn.Module) -> Iterator[Stage]:
    """Halves of blocks, and what is before and after them."""
    yield Stage(lambda x: encoder.patch_embed(x) + encoder.pos_embed, ("patch_embed.", "pos_embed"))
    for i, block in enumerate(encoder.blocks):
        yield Stage(block.attention, (f"blocks.{i}.norm1.", f"blocks.{i}.attn."))
        yield Stage(block.feed_forward, (f"blocks.{i}.norm2.", f"blocks.{i}.mlp."))
    yield Stage(lambda x: apply_neck(encoder.neck, x), ("neck.",))


def of_tiny_vit(encoder: TinyViT) -> Iterator[Stage]:
    """Blocks, and what is before, between and after them."""
    yield Stage(encoder.patch_embed, ("patch_embed.",))
    for i, layer in enumerate(encoder.layers):
        for j, block in enumerate(layer.blocks):
            yield Stage(block, (f"layers.{i}.blocks.{j}.",))
        if "downsample" in layer:
            yield Stage(layer.downsample, (f"layers.{i}.downsample.",))
    yield Stage(lambda x: apply_neck(encoder.neck, x), ("neck.",))


def forward(stages: Sequence[Stage], images: mx.array) -> tuple[mx.array, list[mx.array]]:
    """The embedding (B, G, G, C) of prepared images, and the inputs of all stages."""
    x, inputs = images, []
    for stage in stages:
        inputs.append(x)
        x = stage.run(x)
        mx.eval(x)
    return x, inputs


def backward(
    encoder: nn.Module,
    stages: Sequence[Stage],
    inputs: Sequence[mx.array],
    cotangent: mx.array,
    trained: Callable[[str], bool],
) -> dict[str, mx.array]:
    """Gradients of the trained weights, by their names in the encoder.

    cotangent: the gradient of the embedding (B, G, G, C).
    """
    weights, gradients = weights_of(encoder), dict[str, mx.array]()
    wanted = [
        [name for name in weights if name.startswith(stage.prefixes) and trained(name)]
        for stage in stages
    ]
    first = next(i for i, names in enumerate(wanted) if names)
    for i in reversed(range(first, len(stages))):

        def run(x: mx.array, *values: mx.array, i: int = i) -> mx.array:
            encoder.update(tree_unflatten(list(zip(wanted[i], values))))
            return stages[i].run(x)

        given = [inputs[i], *(weights[name] for name in wanted[i])]
        with lazily():
            cotangent, *found = mx.vjp(run, given, [cotangent])[1]
        mx.eval(cotangent, found)
        gradients |= zip(wanted[i], found)
    encoder.update(tree_unflatten(list(weights.items())))
    return gradients
