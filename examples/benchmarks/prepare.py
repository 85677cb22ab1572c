"""Makes a ViT-B with random weights in the three formats that run.py compares, and a picture."""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("cache", type=Path)
    parser.add_argument("--mlx-examples", type=Path)
    args = parser.parse_args()
    args.cache.mkdir(parents=True, exist_ok=True)
    for name, make in (("sam.pth", original), ("sam_mlx", ours), ("image.png", picture)):
        if not (args.cache / name).exists():
            make(args.cache)
    if args.mlx_examples and not (args.cache / "mlx_examples").exists():
        theirs(args.cache, args.mlx_examples)


def original(cache: Path) -> None:
    import torch

    from sam_mlx.registry import VARIANTS
    from tests.support.automatic import calibrated_sam, original_of

    # Masks of a few blobs, predicted IoU on both sides of the threshold.
    model = original_of(calibrated_sam(VARIANTS["vit_b"]))
    torch.save(model.state_dict(), cache / "sam.pth")


def ours(cache: Path) -> None:
    from convert.__main__ import convert

    convert(cache / "sam.pth", cache / "sam_mlx")


def picture(cache: Path) -> None:
    import skimage.data
    from PIL import Image

    Image.fromarray(skimage.data.astronaut()).save(cache / "image.png")


def theirs(cache: Path, package: Path) -> None:
    """The checkpoint in Hugging Face's format, and from it theirs, by their own conversion."""
    import torch
    from safetensors.torch import save_file

    from sam_mlx.checkpoints.families.hugging_face import to_meta
    from sam_mlx.files import whole_folder
    from tests.support import originals  # noqa: F401  so that transformers can be imported

    # isort: split
    from transformers import SamConfig, SamModel

    state = torch.load(cache / "sam.pth", weights_only=True)
    with torch.device("meta"):
        names = SamModel(SamConfig()).state_dict()
    # A second name for shared_image_embedding, which files leave out.
    names = [name for name in names if not name.startswith("prompt_encoder.shared_embedding.")]
    renamed = to_meta({name: name for name in names})
    folder = cache / "hugging_face"
    if not folder.exists():
        with whole_folder(folder) as temporary:
            tensors = {renamed[name]: tensor for name, tensor in state.items()}
            save_file(tensors, temporary / "model.safetensors")
            SamConfig().save_pretrained(temporary)
    with whole_folder(cache / "mlx_examples") as temporary:
        code = (
            "import sys, pathlib, convert\n"
            "source, target = map(pathlib.Path, sys.argv[1:])\n"
            "convert.save_weights(target, convert.convert(source))"
        )
        command = [
            sys.executable,
            "-c",
            code,
            str(folder.resolve()),
            str(temporary.resolve()),
        ]
        subprocess.run(command, cwd=package, check=True, env={**os.environ, "PYTHONPATH": ""})
        shutil.copy(folder / "config.json", temporary)


if __name__ == "__main__":
    main()
