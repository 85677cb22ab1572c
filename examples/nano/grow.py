"""Turn a nano for images of 256 px into one for 320 px, the size today, as a start for training:
``python -m examples.nano.grow OLD NEW.pt``.

Positions are interpolated. To keep the file below 8 MB, the hidden channels that contribute least
are removed from the decoder's MLPs.
"""

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from examples.nano.model import NANO, build_nano, read_weights, replace


def grow(old: dict[str, Tensor]) -> nn.Module:
    """``build_nano()`` with the weights ``old``, fitted to its shapes.

    Raises ValueError if the width of the prompts differs.
    """
    width = old["prompt_encoder.no_mask_embed.weight"].shape[1]
    if width != NANO.prompt_dim:
        raise ValueError(f"the prompts are {width} wide; only a nano of {NANO.prompt_dim} can grow")
    sam = build_nano()
    new = sam.state_dict()
    fitted = {key: stretch(key, value, new[key].shape) for key, value in old.items()}
    for layer in range(NANO.decoder_depth):
        mlp = f"mask_decoder.transformer.layers.{layer}.mlp."
        fitted.update(strongest(old, mlp, NANO.decoder_mlp_dim))
    sam.load_state_dict(fitted)
    return sam


def stretch(key: str, value: Tensor, shape: torch.Size) -> Tensor:
    """Positions interpolated to ``shape``; other weights unchanged."""
    if key.endswith("pos_embed"):  # (1, H, W, C)
        value = F.interpolate(value.permute(0, 3, 1, 2), size=shape[1:3], mode="bicubic")
        return value.permute(0, 2, 3, 1)
    if "rel_pos" in key:  # (2 * side - 1, C)
        return F.interpolate(value.T[None], size=shape[0], mode="linear")[0].T
    return value


def strongest(old: dict[str, Tensor], mlp: str, count: int) -> dict[str, Tensor]:
    """An MLP's weights for the ``count`` hidden channels that contribute most."""
    first, bias, second = (mlp + k for k in ("lin1.weight", "lin1.bias", "lin2.weight"))
    strength = old[first].norm(dim=1) * old[second].norm(dim=0)
    kept = strength.topk(count).indices.sort().values
    return {first: old[first][kept], bias: old[bias][kept], second: old[second][:, kept]}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("former", type=Path, help="a .pt, or a folder that convert wrote")
    parser.add_argument("result", type=Path, help="file to write")
    args = parser.parse_args()
    replace(grow(read_weights(args.former)).state_dict(), args.result)


if __name__ == "__main__":
    main()
