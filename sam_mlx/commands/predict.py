"""``sam-mlx predict``: one object of a picture."""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..files import write_whole
from ..formats import FORMATS, Result
from ..formats.masks import save_mask
from ..masks import compress_rle, encode_rle
from ..predictor import SamPredictor
from ..prompts import check_box, check_points
from ..transforms import load_image
from .common import add_model_flags, load_model, report

HELP = "segment one object of an image"
DESCRIPTION = (
    "Segment one object of an image. Writes mask.png (white is the object), overlay.png and "
    "logits.npy, which --mask-input takes back. Of a single click's three masks the one with "
    "the highest predicted IoU is written; --multimask writes all three."
)


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", help="picture file")
    parser.add_argument(
        "--point", nargs=2, type=float, action="append", default=[], metavar=("X", "Y"),
        help="a pixel of the object; can be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--negative", nargs=2, type=float, action="append", default=[], metavar=("X", "Y"),
        help="a pixel beside the object; can be repeated",
    )  # fmt: skip
    parser.add_argument("--box", nargs=4, type=float, metavar=("X0", "Y0", "X1", "Y1"))
    parser.add_argument("--mask-input", metavar="FILE", help="logits.npy of an earlier prediction")
    parser.add_argument("--multimask", action="store_true", help="write all three masks")
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="folder to write to")
    add_model_flags(parser)


def run(args: argparse.Namespace) -> int:
    prompt = read_prompt(args)
    image = load_image(args.image)
    output = Path(args.output)
    if output.exists() and not output.is_dir():
        raise NotADirectoryError(f"{output} is a file; -o takes a folder")

    predictor = SamPredictor(load_model(args))
    start = time.perf_counter()
    predictor.set_image(image)
    report(args, "set_image", start)
    # A lone click is ambiguous: the original's advice is to choose among three masks by score.
    ambiguous = args.multimask or is_lone_click(prompt)
    start = time.perf_counter()
    masks, scores, logits = predictor.predict(**prompt, multimask_output=ambiguous)
    report(args, "predict", start)

    output.mkdir(parents=True, exist_ok=True)
    best = int(scores.argmax())
    for i in range(len(masks)) if args.multimask else [best]:
        path = output / (f"mask_{i}.png" if args.multimask else "mask.png")
        write_whole(path, partial(save_mask, masks[i]))
        print(f"{path}  predicted IoU {scores[i]:.3f}  area {int(masks[i].sum())} px")
    write_overlay(output / "overlay.png", image, masks[best], prompt)
    write_whole(output / "logits.npy", lambda path: np.save(path, logits[best : best + 1]))
    print(f"{output / 'overlay.png'}")
    return 0


def read_prompt(args: argparse.Namespace) -> dict[str, Any]:
    """The arguments of ``SamPredictor.predict``; ValueError says what is wrong."""
    prompt: dict[str, Any] = {}
    if args.point or args.negative:
        prompt["point_coords"], prompt["point_labels"] = check_points(
            args.point + args.negative, [1] * len(args.point) + [0] * len(args.negative)
        )
    if args.box:
        prompt["box"] = check_box(args.box)
    if args.mask_input:
        prompt["mask_input"] = read_logits(args.mask_input)
    if not prompt:
        raise ValueError("nothing to segment: give --point X Y, --box X0 Y0 X1 Y1 or --mask-input")
    return prompt


def is_lone_click(prompt: dict[str, np.ndarray]) -> bool:
    return prompt.keys() == {"point_coords", "point_labels"} and len(prompt["point_labels"]) == 1


def read_logits(path: str) -> np.ndarray:
    try:
        logits: np.ndarray = np.load(path, allow_pickle=False)
        return logits
    except FileNotFoundError:
        raise FileNotFoundError(f"no such mask input: {path}") from None
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"{path} is not a .npy array, as predict writes in logits.npy") from error


def write_overlay(
    path: Path, image: np.ndarray, mask: np.ndarray, prompt: dict[str, np.ndarray]
) -> None:
    record = {"segmentation": compress_rle(encode_rle(mask[None]))[0], "area": int(mask.sum())}
    drawn: dict[str, Any] = {k: v for k, v in prompt.items() if k != "mask_input"}
    result = Result(path.name, 1, image, [record], drawn)
    write_whole(path, lambda name: FORMATS["overlay"].write(result, name))
