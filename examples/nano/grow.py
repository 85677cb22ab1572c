"""Turn a nano of width 64 and depth 4 into one of width 128 and depth 6 that gives the same masks:
``python -m examples.nano.grow FOLDER NEW.pt``.

Every channel of the prompts and of the decoder becomes two equal ones side by side, and what reads
the two divides its weight between them unevenly, so that training drives them apart (Net2WiderNet,
Chen et al. 2016). The blocks added to the encoder start with outputs of zero.
"""

import argparse
from pathlib import Path

import torch
from torch import nn

from examples.nano.model import build_nano, shipped_weights

PLACES = [0, None, 1, 2, 3, None]  # which of the former blocks each block is
READS = {nn.Linear: 1, nn.Conv2d: 1, nn.ConvTranspose2d: 0}  # axis of the input in the weights


def grow(old: dict[str, torch.Tensor]) -> nn.Module:
    """``build_nano()`` with weights that compute what ``old`` computes."""
    sam = build_nano()
    for name, module in sam.named_modules():
        for key, value in module.state_dict(prefix=f"{name}.").items():
            if key.removeprefix(f"{name}.").count("."):
                continue
            if "encoder.blocks" in name:
                _, _, place, rest = key.split(".", 3)
                former = PLACES[int(place)]
                if former is None:
                    if rest.startswith(("attn.proj", "mlp.lin2")):
                        value.zero_()
                    continue
                key = f"image_encoder.blocks.{former}.{rest}"
            tensor = old[key]
            for axis, size in enumerate(value.shape):
                if size == tensor.shape[axis]:
                    continue
                tensor = tensor.repeat_interleave(2, axis)
                masks = "hypernetworks" in key and "layers.2" in key  # read by the mask product
                if masks or key.endswith("weight") and READS.get(type(module)) == axis:
                    tensor = tensor * shares(tensor.shape, axis)
            if "q_proj" in key:  # twice the products over the root of twice the channels
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
    parser.add_argument("folder", type=Path, help="a converted nano of the former size")
    parser.add_argument("result", type=Path, help="file to write")
    args = parser.parse_args()
    torch.manual_seed(0)
    torch.save(grow(shipped_weights(args.folder)).state_dict(), args.result)


if __name__ == "__main__":
    main()
