"""Turn a nano for images of 256 px into one of today's 320 px, as a start for its training:
``python -m examples.nano.grow OLD NEW.pt``.

Positions are interpolated. So that the file stays below 8 MB, the decoder's MLPs lose the hidden
channels that contribute least.
"""

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from examples.nano.model import EMBED, build_nano, read_weights
from examples.nano.train import replace


def grow(old: dict[str, torch.Tensor]) -> nn.Module:
    """``build_nano()`` with the weights ``old``, fitted to its shapes.

    Raises ValueError for weights whose prompts are not as wide.
    """
    width = old["prompt_encoder.no_mask_embed.weight"].shape[1]
    if width != EMBED:
        raise ValueError(f"the prompts are {width} wide; only a nano of {EMBED} can grow")
    sam = build_nano()
    new = sam.state_dict()
    fitted = dict(old)
    for layer in range(len(sam.mask_decoder.transformer.layers)):
        mlp = f"mask_decoder.transformer.layers.{layer}.mlp."
        first, bias, second = (mlp + k for k in ("lin1.weight", "lin1.bias", "lin2.weight"))
        strength = old[first].norm(dim=1) * old[second].norm(dim=0)
        kept = strength.topk(len(new[first])).indices.sort().values
        fitted[first], fitted[bias] = old[first][kept], old[bias][kept]
        fitted[second] = old[second][:, kept]
    for key, value in old.items():
        size = new[key].shape
        if key.endswith("pos_embed"):  # (1, H, W, C)
            value = F.interpolate(value.permute(0, 3, 1, 2), size=size[1:3], mode="bicubic")
            fitted[key] = value.permute(0, 2, 3, 1)
        elif "rel_pos" in key:  # (2 * side - 1, C)
            fitted[key] = F.interpolate(value.T[None], size=size[0], mode="linear")[0].T
    sam.load_state_dict(fitted)
    return sam


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("former", type=Path, help="a .pt, or a folder that convert wrote")
    parser.add_argument("result", type=Path, help="file to write")
    args = parser.parse_args()
    replace(grow(read_weights(args.former)).state_dict(), args.result)


if __name__ == "__main__":
    main()
