"""Turn a nano of width 64 and depth 4 into one of width 128 and depth 6 that gives the same masks:
``python -m examples.nano.grow OLD NEW.pt``.

Every channel of the prompts and of the decoder becomes two equal ones side by side, and what reads
the two divides its weight between them unevenly, so that training drives them apart (Net2WiderNet,
Chen et al. 2016). The blocks added to the encoder start with outputs of zero.
"""

import argparse
from pathlib import Path

import torch
from torch import nn

from examples.nano.model import EMBED, build_nano, read_weights
from examples.nano.train import replace

PLACES = [0, None, 1, 2, 3, None]  # which of the former blocks each block is
READS = {nn.Linear: 1, nn.Conv2d: 1, nn.ConvTranspose2d: 0}  # axis of the input in the weights


def grow(old: dict[str, torch.Tensor]) -> nn.Module:
    """``build_nano()`` with weights that compute what ``old`` computes.

    Raises ValueError for weights whose prompts are not half as wide.
    """
    sam = build_nano()
    width = old["prompt_encoder.no_mask_embed.weight"].shape[1]
    if width * 2 != EMBED:
        raise ValueError(f"the prompts are {width} wide; only a nano of {EMBED // 2} can grow")
    for key, value in sam.state_dict().items():
        name, _, kind = key.rpartition(".")
        if name.startswith("image_encoder.blocks."):
            _, _, place, layer = name.split(".", 3)
            former = PLACES[int(place)]
            if former is None:
                if layer in ("attn.proj", "mlp.lin2"):
                    value.zero_()
                continue
            key = f"image_encoder.blocks.{former}." + key.split(".", 3)[3]
        tensor = old[key]
        # Of what the hypernetworks put out, the product with the image reads both copies.
        masks = "hypernetworks" in name and name.endswith("layers.2")
        reads = READS.get(type(sam.get_submodule(name))) if kind == "weight" else None
        for axis, size in enumerate(value.shape):
            if size != tensor.shape[axis]:
                tensor = tensor.repeat_interleave(2, axis)
                if masks or axis == reads:
                    tensor = tensor * shares(tensor.shape, axis)
        if name.endswith("q_proj"):  # twice the products over the root of twice the channels
            tensor = tensor / 2**0.5
        value.copy_(tensor)
    return sam


def shares(shape, axis: int) -> torch.Tensor:
    """Random factors; those of the two neighbours along ``axis`` sum to 1."""
    shape = list(shape)
    shape[axis] //= 2
    first = torch.empty(shape).normal_(0.5, 0.25)
    return torch.stack([first, 1 - first], axis + 1).flatten(axis, axis + 1)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("former", type=Path, help="a .pt, or a folder that convert wrote")
    parser.add_argument("result", type=Path, help="file to write")
    args = parser.parse_args()
    torch.manual_seed(0)
    replace(grow(read_weights(args.former)).state_dict(), args.result)


if __name__ == "__main__":
    main()
