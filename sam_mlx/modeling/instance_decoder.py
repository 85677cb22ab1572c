"""Maps for all instances at once: the second decoder of micro-sam's models.

Original: ``UNETR`` of torch-em, as micro-sam's ``DecoderAdapter`` runs it: a U-Net that takes
nothing from the encoder but its result. One path enlarges the image embedding with convolutions
(``deconv1`` to ``deconv4``), and its maps enter the other path (``base``, ``decoder``) where they
have its size:

    embedding --base--> 512 @ 64 --> 256 @ 128 --> 128 @ 256 --> 64 @ 512 --> 64 @ 1024 --> maps
        |                                ^             ^             ^            ^
        +--deconv1--> 512 @ 128 ---------+             |             |            |
                         +--deconv2--> 256 @ 256 ------+             |            |
                                          +--deconv3--> 128 @ 512 ---+            |
                                                           +--deconv4--> 64 @ 1024

Only the middle half of the channels enters, except at the end: the original crops a map to the
other's shape, and counts the axis of channels among those to crop.
"""

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import mlx.core as mx
import mlx.nn as nn

from ..config import SamConfig
from ..registry import IMAGE_EMBEDDING, Decoder, Features, Weights, register, with_decoder
from .layers import fold_batch_norm
from .ops import relu
from .ops_bands import Map, kept, side_by_side
from .shapes import shape_of

PART = "instance_decoder"
MAPS = 3  # foreground, distance to the centre, distance to the boundary
EPS = 1e-5  # of the instance norms


@dataclass(frozen=True)
class InstanceDecoderConfig:
    """Sizes of micro-sam's second decoder."""

    type: ClassVar[str] = "instances"
    width: int = 64  # channels of the largest maps
    transposed: bool = False  # enlarged by transposed convolutions, not by interpolation

    def misfits(self) -> Iterator[str]:
        """Messages about values of the wrong kind, for ``config.check``."""
        if not isinstance(self.transposed, bool):
            yield f"transposed is {self.transposed!r}; expected true or false"


def conv3x3(inputs: int, outputs: int) -> nn.Conv2d:
    """A 3x3 convolution that keeps the size."""
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def convolve(conv: nn.Conv2d, x: Map) -> Map:
    """A 3x3 convolution and the activation after it."""
    return x.convolved(conv.weight).each(lambda rows: relu(rows + conv.bias), len(conv.weight))


def normalise(x: Map) -> Map:
    """Each channel with mean 0 and variance 1 over the whole map (``InstanceNorm2d``)."""
    mean, variance = x.moments()
    scale = mx.rsqrt(variance + EPS)
    mx.eval(mean, scale)
    return x.each(lambda rows: ((rows - mean) * scale).astype(rows.dtype), x.channels)


class Upsampler(nn.Module):
    """Twice the height and width, and other channels.

    The original interpolates before its 1x1 convolution. They commute, for the weights of an
    interpolation sum to 1, and so the convolution has a quarter of the pixels.
    """

    def __init__(self, inputs: int, outputs: int, transposed: bool):
        super().__init__()
        if transposed:
            self.block = nn.ConvTranspose2d(inputs, outputs, 2, stride=2)
        else:
            self.conv = nn.Conv2d(inputs, outputs, 1)

    def __call__(self, x: Map) -> Map:
        if "block" in self:
            bias = self.block.bias
            return x.spread_out(self.block.weight).each(lambda rows: rows + bias, len(bias))
        weight = self.conv.weight.flatten(1).T
        return x.each(lambda rows: rows @ weight + self.conv.bias, weight.shape[1]).kept().doubled()


class SingleConv(nn.Module):
    """A convolution under the name that the checkpoint has."""

    def __init__(self, channels: int):
        super().__init__()
        self.block = conv3x3(channels, channels)


class Deconv(nn.Module):
    """Enlarge and convolve. The batch norm after it is folded into the convolution (``clean``)."""

    def __init__(self, inputs: int, outputs: int, transposed: bool):
        super().__init__()
        self.block = [Upsampler(inputs, outputs, transposed), SingleConv(outputs)]

    def __call__(self, x: Map) -> Map:
        upsampler, single = self.block
        return convolve(single.block, upsampler(x)).kept()


class ConvBlock(nn.Module):
    """Normalise and convolve, twice."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        conv1, conv2 = conv3x3(inputs, outputs), conv3x3(outputs, outputs)
        self.block: list[Any] = [normalise, conv1, relu, normalise, conv2, relu]

    def __call__(self, x: Map) -> Map:
        _, conv1, _, _, conv2, _ = self.block
        x = convolve(conv1, normalise(x)).kept()
        return convolve(conv2, normalise(x))


class Levels(nn.Module):
    """The path that the maps of the other enter."""

    def __init__(self, widths: list[int], transposed: bool):
        super().__init__()
        pairs = list(pairwise(widths))
        self.samplers = [Upsampler(a, b, transposed) for a, b in pairs]
        self.blocks = [ConvBlock(a, b) for a, b in pairs]

    def __call__(self, x: Map, entering: list[Map]) -> Map:
        for sampler, block, other in zip(self.samplers, self.blocks, entering):
            x = sampler(x)
            quarter = other.channels // 4
            middle = other.each(
                lambda rows, q=quarter: rows[..., q : 3 * q],  # type: ignore[misc]
                2 * quarter,
            )
            x = block(side_by_side(x, middle)).kept()
        return x


class InstanceDecoder(nn.Module):
    """Embeddings to three maps: foreground, distances to centre and boundary."""

    def __init__(self, config: SamConfig):
        super().__init__()
        sizes = next(s for s in config.decoders if isinstance(s, InstanceDecoderConfig))
        widths = [sizes.width * n for n in (8, 4, 2, 1)]
        inputs = [config.prompt_dim, *widths]
        deconvs = [Deconv(a, b, sizes.transposed) for a, b in zip(inputs, widths)]
        self.deconv1, self.deconv2, self.deconv3, self.deconv4 = deconvs
        self.base = ConvBlock(config.prompt_dim, widths[0])
        self.decoder = Levels(widths, sizes.transposed)
        self.deconv_out = Upsampler(sizes.width, sizes.width, sizes.transposed)
        self.decoder_head = ConvBlock(2 * sizes.width, sizes.width)
        self.out_conv = nn.Conv2d(sizes.width, MAPS, 1)

    def __call__(self, features: Features) -> mx.array:
        """features: the image embedding (B, G, G, C) by name.

        Returns maps (B, 16G, 16G, 3) of the input frame, each from 0 to 1: foreground, and two
        distances that are 0 in the middle of an instance and 1 at its boundary and outside: from
        its centre, and the one that is inverted, from its boundary.
        """
        z12 = kept([features[IMAGE_EMBEDDING].astype(self.out_conv.weight.dtype)])
        z9 = self.deconv1(z12)
        z6 = self.deconv2(z9)
        z3 = self.deconv3(z6)
        x = self.decoder(self.base(z12).kept(), [z9, z6, z3])
        x = side_by_side(self.deconv_out(x), self.deconv4(z3))
        del z9, z6, z3  # a third of a gigabyte
        weight = self.out_conv.weight.flatten(1).T
        x = self.decoder_head(x).each(
            lambda rows: mx.sigmoid(rows @ weight + self.out_conv.bias), MAPS
        )
        x = x.kept()
        return x.rows(0, x.height)


def recognises(weights: Weights) -> bool:
    """True if a checkpoint has an instance decoder."""
    return any(name.startswith(f"{PART}.") for name in weights)


def infer(weights: Weights, config: SamConfig) -> SamConfig:
    """Sizes from the shapes of tensors with torch-em's names, in PyTorch's layout."""
    _, inputs, *_ = shape_of(weights, f"{PART}.base.block.1.weight")
    if inputs != config.prompt_dim:
        raise ValueError(
            f"the instance decoder takes embeddings of {inputs} channels, and the encoder gives "
            f"{config.prompt_dim}: they are of different models"
        )
    _, width, *_ = shape_of(weights, f"{PART}.out_conv.weight")
    transposed = any(name.startswith(f"{PART}.decoder.samplers.0.block.") for name in weights)
    return with_decoder(config, InstanceDecoderConfig(width, transposed))


def clean(weights: Weights) -> Weights:
    """Fold batch norms into the convolutions before them. A decoder for something else, which has
    another number of maps, is left out, with a warning: the model still answers prompts.
    """
    maps = shape_of(weights, f"{PART}.out_conv.weight")[0]
    if maps != MAPS:
        warnings.warn(
            f"the model's second decoder is left out: it makes {maps} maps; that for instances "
            f"makes {MAPS}",
            stacklevel=2,
        )
        return {name: w for name, w in weights.items() if not name.startswith(f"{PART}.")}
    for i in range(1, 5):
        block = f"{PART}.deconv{i}.block"
        weights = fold_batch_norm(weights, f"{block}.1.block", f"{block}.2")
    counts = re.compile(rf"{PART}\..*\.num_batches_tracked")
    return {name: w for name, w in weights.items() if not counts.fullmatch(name)}


register(Decoder(InstanceDecoderConfig, InstanceDecoder, recognises, infer, part=PART, clean=clean))
