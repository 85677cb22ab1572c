"""The shell command ``sam-mlx``. Bad input ends in one line and exit code 2."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from .files import write_whole


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="sam-mlx", description="Segment Anything on Apple silicon, with MLX."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    add_predict(commands)
    add_auto(commands)
    add_info(commands)
    add_export(commands)
    args = parser.parse_args(argv)
    try:
        return args.run(args) or 0
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        print(f"sam-mlx {args.command}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def add_command(
    commands, name: str, run, help: str, description: str = ""
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=help,
        description=description or help,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def add_model_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", default="nano", help="nano, a folder, a .safetensors file or a hub repository"
    )
    parser.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), help="weights' type")
    parser.add_argument(
        "--quantize", type=int, choices=(8,), help="bits of the image encoder's linear weights"
    )
    parser.add_argument("--revision", help="branch, tag or commit of the hub repository")
    parser.add_argument("--verbose", action="store_true", help="print times and peak memory")


def load_model(args: argparse.Namespace):
    from .modeling.sam import Sam

    start = time.perf_counter()
    model = Sam.from_pretrained(
        args.model, dtype=args.dtype, quantize=args.quantize, revision=args.revision
    )
    report(args, f"loaded {args.model}", start)
    return model


def report(args: argparse.Namespace, what: str, start: float) -> None:
    if args.verbose:
        import mlx.core as mx

        peak = mx.get_peak_memory() / 1e9
        print(f"{what}: {time.perf_counter() - start:.2f} s, peak MLX memory {peak:.2f} GB")


def add_predict(commands) -> None:
    parser = add_command(
        commands,
        "predict",
        predict,
        "segment one object of an image",
        "Segment one object of an image. Writes mask.png (white is the object), overlay.png and "
        "logits.npy, which --mask-input takes back. Of a single click's three masks the one with "
        "the highest predicted IoU is written; --multimask writes all three.",
    )
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
    add_model_options(parser)


def predict(args: argparse.Namespace) -> None:
    import numpy as np
    from PIL import Image

    from .overlay import draw_overlay
    from .predictor import SamPredictor, check_box, check_points
    from .transforms import load_image

    points = np.array(args.point + args.negative, float).reshape(-1, 2)
    labels = np.array([1] * len(args.point) + [0] * len(args.negative))
    prompts = {}
    if len(points):
        prompts["point_coords"], prompts["point_labels"] = check_points(points, labels)
    if args.box:
        prompts["box"] = check_box(args.box)
    if args.mask_input:
        prompts["mask_input"] = read_logits(args.mask_input)
    if not prompts:
        raise ValueError("nothing to segment: give --point X Y, --box X0 Y0 X1 Y1 or --mask-input")
    image = load_image(args.image)
    output = Path(args.output)
    if output.exists() and not output.is_dir():
        raise NotADirectoryError(f"{output} is a file; -o takes a folder")

    predictor = SamPredictor(load_model(args))
    start = time.perf_counter()
    predictor.set_image(image)
    report(args, "set_image", start)
    # A lone click is ambiguous: the original's advice is to choose among three masks by score.
    ambiguous = args.multimask or (len(points) == 1 and not args.box and not args.mask_input)
    start = time.perf_counter()
    masks, scores, logits = predictor.predict(**prompts, multimask_output=ambiguous)
    report(args, "predict", start)

    best = int(scores.argmax())
    chosen = range(len(masks)) if args.multimask else [best]
    output.mkdir(parents=True, exist_ok=True)
    for i in chosen:
        path = output / (f"mask_{i}.png" if args.multimask else "mask.png")
        write_whole(path, Image.fromarray(masks[i]).convert("L").save)
        print(f"{path}  predicted IoU {scores[i]:.3f}  area {int(masks[i].sum())} px")
    overlay = draw_overlay(
        image, masks[best : best + 1], points, labels, np.array(args.box) if args.box else None
    )
    write_whole(output / "overlay.png", overlay.save)
    write_whole(output / "logits.npy", lambda path: np.save(path, logits[best : best + 1]))
    print(f"{output / 'overlay.png'}")


def read_logits(path: str):
    import numpy as np

    try:
        return np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise FileNotFoundError(f"no such mask input: {path}") from None
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"{path} is not a .npy array, as predict writes in logits.npy") from error


# The original's flags: name, type, default, help.
GENERATOR_OPTIONS = [
    ("points-per-side", int, 32, "points along each side of the image"),
    ("points-per-batch", int, 64, "points put to the model at once"),
    ("pred-iou-thresh", float, 0.88, "keep masks with a predicted IoU above this"),
    ("stability-score-thresh", float, 0.95, "keep masks that are at least this stable"),
    ("stability-score-offset", float, 1.0, "shift of the threshold that tests stability"),
    ("box-nms-thresh", float, 0.7, "box IoU above which a mask repeats another"),
    ("crop-n-layers", int, 0, "search also in 2^i x 2^i crops, i = 1 to this"),
    ("crop-nms-thresh", float, 0.7, "as --box-nms-thresh, between crops"),
    ("crop-overlap-ratio", float, 512 / 1500, "overlap of crops, of the shorter side"),
    ("crop-n-points-downscale-factor", int, 1, "points a side are divided by this^i in crops"),
    ("min-mask-region-area", int, 0, "drop islands and fill holes of fewer pixels"),
]


def add_auto(commands) -> None:
    parser = add_command(
        commands,
        "auto",
        auto,
        "segment everything in many images",
        "Segment everything in an image, a folder of images or a glob. Stopped and started again, "
        "it continues. Under mlx.launch -n N python -m sam_mlx auto ..., N processes share the "
        "work; on several machines the output must lie on a disk they share. Exit code: 0, or 1 "
        "when some files could not be read, 2 when nothing was done.",
    )
    parser.add_argument("input", help="picture file, folder or quoted glob, such as 'day*/*.jpg'")
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="folder to write to")
    parser.add_argument(
        "--format",
        nargs="+",
        default=["masks"],
        choices=("masks", "coco", "sa1b", "labelmap", "overlay", "rle"),
        help="masks: a folder of PNG and metadata.csv for each picture; coco: annotations.json "
        "for all; sa1b, rle: a JSON file each, as the SA-1B dataset or as the records; labelmap: "
        "a 16-bit PNG each; overlay: a picture each",
    )
    parser.add_argument("--convert-to-rle", action="store_true", help="the same as --format rle")
    for name, kind, default, text in GENERATOR_OPTIONS:
        parser.add_argument(f"--{name}", type=kind, default=default, help=text)
    add_model_options(parser)


def auto(args: argparse.Namespace) -> int:
    from .auto import run
    from .automatic_mask_generator import SamAutomaticMaskGenerator

    formats = ["rle"] if args.convert_to_rle else sorted(set(args.format))
    if {"rle", "sa1b"} <= set(formats):
        raise ValueError("--format rle and sa1b write files of the same names; choose one")
    options = {
        name: getattr(args, name)
        for name in (option[0].replace("-", "_") for option in GENERATOR_OPTIONS)
    }
    # Batches change how fast the results come, and nothing about them.
    settings = {k: v for k, v in options.items() if k != "points_per_batch"}
    settings.update(model=args.model, dtype=args.dtype, revision=args.revision)

    def generator() -> SamAutomaticMaskGenerator:
        return SamAutomaticMaskGenerator(load_model(args), **options, output_mode="coco_rle")

    start = time.perf_counter()
    try:
        code = run(args.input, args.output, formats, generator, settings)
    except KeyboardInterrupt:
        print("stopped; the same command continues", file=sys.stderr)
        return 130
    report(args, "all", start)
    return code


def add_info(commands) -> None:
    parser = add_command(commands, "info", info, "describe a model")
    parser.add_argument("model", help="nano, a folder, a .safetensors file or a hub repository")
    parser.add_argument("--revision", help="branch, tag or commit of the hub repository")


def info(args: argparse.Namespace) -> None:
    from mlx.utils import tree_flatten

    from .loading import from_pretrained, is_quantized, resolve
    from .modeling.sam import Sam

    path = resolve(args.model, args.revision)
    files = [path] if path.is_file() else sorted(path.glob("*.safetensors"))
    model = from_pretrained(path)
    config = model.config
    parts = {
        name: sum(w.size for _, w in tree_flatten(part.parameters()))
        for name, part in Sam(config).children().items()  # of the plain model, whatever is stored
    }
    packed = ", image encoder's linear weights in 8 bits" if is_quantized(model) else ""
    print(f"variant      {config.variant}")
    print(f"source       {path}")
    print(
        f"file size    {sum(f.stat().st_size for f in files) / 1e6:.1f} MB, {model.dtype}{packed}"
    )
    print(f"parameters   {sum(parts.values()):,}")
    for name, count in parts.items():
        print(f"  {name:<15}{count:,}")
    print(
        f"input        {config.image_size} x {config.image_size} pixels, patch {config.patch_size}"
    )
    print(f"embedding    {config.grid} x {config.grid} cells, {config.prompt_dim} channels")
    print(f"masks        {config.mask_size} x {config.mask_size}, then at the image's own size")


def add_export(commands) -> None:
    parser = add_command(
        commands,
        "export",
        export,
        "write encoder and decoder as files for apps",
        "Write encoder.mlxfn, decoder.mlxfn and export.json for apps in C++ and Swift, and check "
        "them against the model. They run on the kind of device that this command runs on.",
    )
    parser.add_argument("model", help="nano, a folder, a .safetensors file or a hub repository")
    parser.add_argument("output", metavar="out", help="folder to make")
    parser.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), help="weights' type")
    parser.add_argument(
        "--points", nargs="+", type=int, default=[4], metavar="N",
        help="prompt slots of the decoder; several numbers share one file",
    )  # fmt: skip
    parser.add_argument(
        "--sizes", nargs="+", type=image_size, default=[], metavar="HEIGHTxWIDTH",
        help="sizes of original images to write masks_HEIGHTxWIDTH.mlxfn for",
    )  # fmt: skip
    parser.add_argument("--revision", help="branch, tag or commit of the hub repository")


def image_size(text: str) -> tuple[int, int]:
    height, width = text.split("x")
    return int(height), int(width)


def export(args: argparse.Namespace) -> None:
    from .export import export as write_export

    written = write_export(
        args.model,
        args.output,
        points=args.points,
        sizes=args.sizes,
        dtype=args.dtype,
        revision=args.revision,
    )
    for name, file in written["files"].items():
        print(f"{Path(args.output) / name}  {file['bytes'] / 1e6:.1f} MB")
    print(Path(args.output) / "export.json")
    differences = written["differences_from_predictor"].items()
    print(
        "largest differences from SamPredictor: "
        + ", ".join(f"{k} {v:.2g}" for k, v in differences)
    )
    print(f"Device: {written['device']['note']}.")
    print(f"MLX {written['mlx']['version']}: {written['mlx']['note']}.")
