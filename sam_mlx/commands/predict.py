"""``sam-mlx predict``: one object of a picture."""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from PIL import Image

from ..batch.checks import check_formats
from ..files import make_folder, output_folder, read_file, user_path, write_whole
from ..formats import FORMATS, Format, Result, apart
from ..formats.masks import save_mask
from ..images import load_image
from ..masks import Record, compress_rle, encode_rle, record_of
from ..options import Flags
from ..predictor import SamPredictor
from ..prompts import check_box, check_points, is_ambiguous
from ..strips import stability_at_full_size
from ..terminal import say
from . import predict_many
from .common import add_image_flags, add_model_flags, apply_image_flags, load_model, report
from .large import add_opening_flags

HELP = "segment one object of an image"
DESCRIPTION = (
    "Segment one object of an image. Writes mask.png (white is the object), overlay.png and "
    "logits.npy, which --mask-input takes back. Of a single click's three masks the one with "
    "the highest predicted IoU is written; --multimask writes all three, and draws them. What an "
    "earlier prediction left in the folder is replaced."
)
MORE = {name: f for name, f in FORMATS.items() if name not in ("masks", "overlay")}
MASKS = ("mask.png", "mask_0.png", "mask_1.png", "mask_2.png")
WRITTEN = (*MASKS, "overlay.png", "logits.npy")
MAX_LOGITS = 64 << 20  # bytes of a mask input: 256 x 256 float32 take 256 KB
NAME = "object"  # of the files that --format writes
# nano scores a coin or a plate that it finds 0.8 or more, nine of ten clicks on photographs less
# than 0.75.
LOW_SCORE = 0.75


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", help="picture file")
    add_prompt_flags(parser.add_argument_group("the object: points, a box, or an earlier answer"))
    written = parser.add_argument_group("what is written")
    written.add_argument(
        "-o", "--output", required=True, metavar="OUT",
        help="folder to write to, or a .png file for the mask alone",
    )  # fmt: skip
    written.add_argument("--multimask", action="store_true", help="write all three masks")
    written.add_argument(
        "--format", nargs="+", default=[], choices=FORMATS, metavar="FORMAT",
        help="write also, beside those: "
        + "; ".join(f"{name}: {MORE[name].help}" for name in MORE),
    )  # fmt: skip
    written.add_argument("--crop", action="store_true", help="the same as --format crop")
    many = parser.add_argument_group("many objects, in a picture of any size")
    many.add_argument(
        "--boxes", metavar="FILE",
        help="a vector file, in any reference system, of an object a feature: a box round a shape, "
        "a click for a point; the picture may be of any size, and -o is then a file, such as "
        "masks.gpkg",
    )  # fmt: skip
    many.add_argument("--layer", metavar="NAME", help="of --boxes, where the file has several")
    add_opening_flags(many)
    add_image_flags(parser.add_argument_group("reading the picture"))
    add_model_flags(parser.add_argument_group("the model"))


def add_prompt_flags(parser: Flags) -> None:
    parser.add_argument(
        "--point", nargs=2, type=float, action="append", default=[], metavar=("X", "Y"),
        help="a pixel of the object; can be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--negative", nargs=2, type=float, action="append", default=[], metavar=("X", "Y"),
        help="a pixel beside the object; can be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--box", nargs=4, type=float, action="append", metavar=("X0", "Y0", "X1", "Y1"),
        help="around the object, in pixels",
    )  # fmt: skip
    parser.add_argument("--mask-input", metavar="FILE", help="logits.npy of an earlier prediction")
    parser.add_argument(
        "--hq-token-only", action="store_true", help="of SAM-HQ, its own mask without SAM's"
    )


def run(args: argparse.Namespace) -> int:
    if args.boxes is not None:
        apply_image_flags(args)
        return predict_many.run(args)
    refuse_flags_of_boxes(args)
    prompt = read_prompt(args)
    apply_image_flags(args)
    image = load_image(args.image, value_range=args.value_range)
    check_inside(prompt, image.shape[:2])
    file = mask_file(args)
    output = file or check_output(args)

    predictor = SamPredictor(load_model(args))
    if args.value_range is None and (usual := predictor.model.config.value_range):
        image = load_image(args.image, value_range=usual)
    start = time.perf_counter()
    predictor.set_image(image)
    report(args, "set_image", start)
    three = args.multimask or is_ambiguous(**prompt)
    start = time.perf_counter()
    masks, scores, logits = predictor.predict(
        **prompt, multimask_output=three, hq_token_only=args.hq_token_only
    )
    report(args, "predict", start)

    best = int(scores.argmax())
    if file:
        write_mask(file, masks[best], scores[best])
    else:
        write_folder(args, output, image, predictor, prompt, (masks, scores, logits))
    if args.model == "nano" and scores[best] < LOW_SCORE:
        say(
            f"nano is unsure of this mask: its predicted IoU is below {LOW_SCORE}. It knows drawn "
            "shapes; --model vit_b knows photographs.",
            error=True,
        )
    return 0


def write_folder(
    args: argparse.Namespace,
    output: Path,
    image: np.ndarray,
    predictor: SamPredictor,
    prompt: dict[str, Any],
    found: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    """Write masks, the overlay, the logits and other formats. found: what ``predict`` returned."""
    masks, scores, logits = found
    best = int(scores.argmax())
    shown = list(range(len(masks))) if args.multimask else [best]
    names = [f"mask_{i}.png" for i in shown] if args.multimask else ["mask.png"]
    write_masks(output, dict(zip(names, masks[shown])), scores[shown])
    records = records_of(predictor, masks[shown], scores[shown], logits[shown], prompt)
    drawn = {k: v for k, v in prompt.items() if k != "mask_input"}
    result = Result(Path(args.image).name, 1, image, records, drawn)
    write_whole(output / "overlay.png", partial(FORMATS["overlay"].write, result))
    write_whole(output / "logits.npy", lambda path: np.save(path, logits[best : best + 1]))
    say(output / "overlay.png")
    write_formats(output, formats_of(args), result)


def refuse_flags_of_boxes(args: argparse.Namespace) -> None:
    for name in ("layer", "level", "bands", "nodata"):
        if getattr(args, name) is not None:
            raise ValueError(f"--{name} needs --boxes FILE")


def formats_of(args: argparse.Namespace) -> list[Format]:
    """What is written beside the mask and the overlay."""
    names = dict.fromkeys([*args.format, *(["crop"] if args.crop else [])])
    return apart([MORE[name] for name in names if name in MORE])


def mask_file(args: argparse.Namespace) -> Path | None:
    """The file that -o names for the mask alone; None for a folder. Raises ValueError for a file
    that masks cannot be, or for more than a mask.
    """
    output = user_path(args.output)
    if output.is_dir() or not output.suffix:
        return None
    ending = output.suffix.lower()
    if ending not in Image.registered_extensions():
        return None
    if ending != ".png":
        raise ValueError(f"-o is {args.output}; a mask is written as .png, or give a folder")
    if args.multimask or args.format or args.crop:
        raise ValueError(f"-o is {args.output}, one file: --multimask and --format need a folder")
    if output.resolve() == user_path(args.image).resolve():
        raise ValueError(f"{args.image} would be replaced by its mask; choose another name")
    return output


def check_output(args: argparse.Namespace) -> Path:
    """The folder to write to; raises where that would lose the picture."""
    output = output_folder(args.output)
    image = user_path(args.image).resolve()
    formats = formats_of(args)
    check_formats(formats)
    written = {output / name for name in WRITTEN}
    written |= {format.path_of_one(output, NAME) for format in formats}
    if image in {path.resolve() for path in written}:
        raise ValueError(f"{args.image} would be replaced by a result; choose another folder")
    return output


def check_inside(prompt: dict[str, Any], size: tuple[int, ...]) -> None:
    """Raise ValueError for a prompt outside the picture; warn of a box that reaches beyond it."""
    height, width = size
    for x, y in prompt.get("point_coords", ()):
        if not (0 <= x < width and 0 <= y < height):
            raise ValueError(
                f"the point {x:g} {y:g} is outside the picture, which is {width} x {height} pixels"
            )
    if "box" in prompt:
        x0, y0, x1, y1 = prompt["box"]
        where = f"the box {x0:g} {y0:g} {x1:g} {y1:g}"
        if max(x1, y1) <= 1 < min(width, height):
            raise ValueError(
                f"{where} is less than a pixel: coordinates are pixels, not shares of the picture, "
                f"which is {width} x {height}"
            )
        if x1 < 0 or y1 < 0 or x0 >= width or y0 >= height:
            raise ValueError(f"{where} is outside the picture, which is {width} x {height} pixels")
        if x0 < 0 or y0 < 0 or x1 > width or y1 > height:
            say(f"{where} reaches beyond the picture, {width} x {height} pixels", error=True)


def write_masks(output: Path, masks: dict[str, np.ndarray], scores: np.ndarray) -> None:
    """Masks by the names of their files; those of an earlier prediction are removed."""
    make_folder(output)
    for name in set(MASKS) - set(masks):
        if (output / name).is_file():
            (output / name).unlink()
    for (name, mask), score in zip(masks.items(), scores):
        write_mask(output / name, mask, score)


def write_mask(path: Path, mask: np.ndarray, score: float) -> None:
    make_folder(path.parent)
    write_whole(path, partial(save_mask, mask))
    say(f"{path}  predicted IoU {score:.3f}  area {int(mask.sum())} px")


def read_prompt(args: argparse.Namespace) -> dict[str, Any]:
    """The arguments of ``SamPredictor.predict``; ValueError says what is wrong."""
    prompt: dict[str, Any] = {}
    if args.point or args.negative:
        prompt["point_coords"], prompt["point_labels"] = check_points(
            args.point + args.negative, [1] * len(args.point) + [0] * len(args.negative)
        )
    if args.box and len(args.box) > 1:
        raise ValueError(
            f"{len(args.box)} boxes; one --box is one object. For many, run the command for each, "
            "or call SamPredictor.predict_batch in Python"
        )
    if args.box:
        prompt["box"] = check_box(args.box[0])
    if args.mask_input:
        prompt["mask_input"] = read_logits(args.mask_input)
    if not prompt:
        raise ValueError("nothing to segment: give --point X Y, --box X0 Y0 X1 Y1 or --mask-input")
    return prompt


def read_logits(path: str) -> np.ndarray:
    try:
        content = io.BytesIO(read_file(user_path(path), MAX_LOGITS))
    except FileNotFoundError:
        raise FileNotFoundError(f"no such mask input: {path}") from None
    try:
        logits: np.ndarray = np.load(content, allow_pickle=False)
        return logits
    except (ValueError, EOFError, OSError, MemoryError, OverflowError) as error:
        raise ValueError(f"{path} is not a .npy array, as predict writes in logits.npy") from error


def records_of(
    predictor: SamPredictor,
    masks: np.ndarray,
    scores: np.ndarray,
    logits: np.ndarray,
    prompt: dict[str, Any],
) -> list[Record]:
    """What was written, as the output formats take it."""
    points = prompt["point_coords"].tolist() if "point_coords" in prompt else None
    embedding, model = predictor.get_image_embedding(), predictor.model
    sizes = embedding.input_size, embedding.original_size, model.config.image_size
    stability = stability_at_full_size(mx.array(logits), *sizes, model.mask_threshold)
    rles = compress_rle(encode_rle(masks))
    return [record_of(*found, points) for found in zip(rles, scores, stability)]


def write_formats(output: Path, formats: Sequence[Format], result: Result) -> None:
    for format in formats:
        path = format.path_of_one(output, NAME)
        write_whole(path, partial(format.write_one, result))
        say(path)
