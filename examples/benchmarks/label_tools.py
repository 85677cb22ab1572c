"""From a click to its mask in label tools: through sam_mlx, and with each tool's own SAM.

    python -m examples.benchmarks.label_tools FOLDER

Each row is a process of its own, on ViT-B with equal random weights, which FOLDER gets, with ONNX
files of them: no tool downloads anything. The tools' own classes are called, or where that is not
possible what they call. Prints wall and CPU seconds of a first click in a new picture, and of one
more. Needs Linux, the extras ``web``, ``convert``, ``cvat`` and ``labelme``, and what
examples/benchmarks/README.md names.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

COINS = Path(__file__).parents[1] / "images" / "coins.png"
SIZE = 1024, 768  # of pictures, width and height
CLICK = 552, 159  # on a coin
Ask = Callable[[Path], Any]  # a click in a picture: shapes, regions or masks


# Weights and pictures.


def prepare(folder: Path) -> None:
    """What is missing of ViT-B's checkpoint and its ONNX files."""
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / "vit_b.pth"
    if not checkpoint.exists():
        import torch

        from convert.meta import build_meta
        from sam_mlx.registry import VARIANTS

        torch.manual_seed(0)
        torch.save(build_meta(VARIANTS["vit_b"]).state_dict(), checkpoint)
    if not (folder / "quantized.encoder.onnx").exists():
        export(checkpoint, folder)


def export(checkpoint: Path, folder: Path) -> None:
    """As X-AnyLabeling has them, whose encoder takes pixels (684, 1024, 3), and as osam, whose
    encoder takes a padded picture, both in integers of 8 bits.
    """
    import torch

    from convert.reference import import_segment_anything

    sam = import_segment_anything().sam_model_registry["vit_b"](checkpoint)
    sam.eval().requires_grad_(False)

    class FromPixels(torch.nn.Module):
        def forward(self, x):
            return sam.image_encoder(sam.preprocess(x.permute(2, 0, 1)[None]))

    write = partial(torch.onnx.export, opset_version=17, dynamo=False)
    write(FromPixels(), (torch.zeros(684, 1024, 3),), folder / "encoder.onnx", input_names=["x"])
    padded = folder / "padded.encoder.onnx"
    write(sam.image_encoder, (torch.zeros(1, 3, 1024, 1024),), padded, input_names=["x"])
    points = {
        "image_embeddings": torch.zeros(1, 256, 64, 64),
        "point_coords": torch.zeros(1, 2, 2),
        "point_labels": torch.ones(1, 2),
        "mask_input": torch.zeros(1, 1, 256, 256),
        "has_mask_input": torch.zeros(1),
        "orig_im_size": torch.tensor([768.0, 1024.0]),
    }
    decoder = import_module("segment_anything.utils.onnx").SamOnnxModel
    write(
        decoder(sam, return_single_mask=True), tuple(points.values()), folder / "decoder.onnx",
        input_names=[*points], output_names=["masks", "scores", "logits"],
        dynamic_axes={"point_coords": {1: "points"}, "point_labels": {1: "points"}},
    )  # fmt: skip
    quantization = import_module("onnxruntime.quantization")
    for source, name in ((padded, "encoder"), (folder / "decoder.onnx", "decoder")):
        made = folder / f"quantized.{name}.onnx"
        quantization.quantize_dynamic(source, made, weight_type=quantization.QuantType.QUInt8)


def picture(folder: Path, number: int) -> Path:
    """The coins, enlarged, with a mark: a file that nobody has seen."""
    path = folder / f"coins-{number}.png"
    image = Image.open(COINS).convert("RGB").resize(SIZE)
    image.putpixel((0, 0), (number, 0, 0))
    image.save(path)
    return path


def pixels(path: Path) -> np.ndarray:
    return np.array(Image.open(path).convert("RGB"))


# Tools that ask a server. Their functions give a click, once they have its address.


def post(address: str, path: str, body: dict[str, Any]) -> Any:
    import httpx

    return httpx.post(f"{address}{path}", json=body, timeout=600).raise_for_status().json()


def encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def program(address: str, folder: Path) -> Ask:
    def ask(path: Path) -> Any:
        body = {"picture": encoded(path), "points": [CLICK], "labels": [1], "format": "coco"}
        return post(address, "/v1/segment", body)["masks"]

    return ask


def x_anylabeling(address: str, folder: Path) -> Ask:
    application(folder, {"server_url": address})
    remote = import_module("anylabeling.services.auto_labeling.remote_server")
    about = {"type": "remote_server", "name": "remote_server", "display_name": "Remote-Server"}
    client = remote.RemoteServer(about, print)
    client.timeout = 600
    client.set_model_id("vit_b")
    return partial(ask_x_anylabeling, client)


def ask_x_anylabeling(model: Any, path: Path) -> Any:
    image = import_module("PyQt6.QtGui").QImage(str(path))
    model.set_auto_labeling_marks([{"type": "point", "data": [*CLICK], "label": 1}])
    return model.predict_shapes(image, str(path)).shapes


def label_studio(address: str, folder: Path) -> Ask:
    labels = '<Label value="Coin"/>'
    config = (
        f'<View><Image name="i" value="$i"/><BrushLabels name="b" toName="i">{labels}'
        "</BrushLabels></View>"
    )
    x, y = (100 * c / n for c, n in zip(CLICK, SIZE))
    point = {"type": "keypointlabels", "value": {"x": x, "y": y, "keypointlabels": ["Coin"]}}

    def ask(path: Path) -> Any:
        tasks = [{"id": 1, "data": {"i": f"/data/local-files/?d={path.name}"}}]
        params = {"context": {"result": [point]}}
        body = {"tasks": tasks, "label_config": config, "params": params}
        return post(address, "/predict", body)["results"][0]["result"]

    return ask


def qupath(address: str, folder: Path) -> Ask:
    def ask(path: Path) -> Any:
        body = {"type": "vit_b", "b64img": encoded(path), "point_coords": [CLICK],
                "point_labels": [1], "multimask_output": False}  # fmt: skip
        return post(address, "/sam/", body)

    return ask


# Tools that run a model in their own process.

KEPT: list[Any] = []  # Qt's application, while the process runs


def application(folder: Path, server: dict[str, str] | None = None) -> None:
    """Qt's, and the file of settings that X-AnyLabeling reads."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    kind = import_module("PyQt6.QtWidgets").QApplication
    KEPT.append(kind.instance() or kind([]))
    settings = folder / "xanylabelingrc"
    settings.write_text(json.dumps({"remote_server_settings": server or {}}))
    import_module("anylabeling.config").current_config_file = str(settings)


def x_anylabeling_own(folder: Path) -> Ask:
    application(folder)
    kind = import_module("anylabeling.services.auto_labeling.segment_anything").SegmentAnything
    files = {f"{part}_model_path": str(folder / f"{part}.onnx") for part in ("encoder", "decoder")}
    about = {"type": "segment_anything", "name": "vit_b", "display_name": "vit_b", **files}
    sizes = {"input_size": 1024, "max_width": 1024, "max_height": 682}
    return partial(ask_x_anylabeling, kind(about | sizes, print))


def osam_session() -> Ask:
    session = import_module("labelme._automation").OsamSession(model_name="sam:100m")

    def ask(path: Path) -> Any:
        point = np.array([CLICK], float)
        return session.run(pixels(path), str(path), point, np.array([1])).annotations

    return ask


def labelme(folder: Path) -> Ask:
    from sam_mlx.osam import install

    install({"sam:100m": str(folder / "vit_b.pth")})
    return osam_session()


def labelme_own(folder: Path) -> Ask:
    model = import_module("osam").apis.get_model_type_by_name("sam:100m")
    for part, blob in model._blobs.items():  # where osam looks for what it has downloaded
        target = Path(blob.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        target.symlink_to((folder / f"quantized.{part}.onnx").absolute())
    model.pull = classmethod(lambda cls, **_: None)
    return osam_session()


def cvat(folder: Path) -> Ask:
    from sam_mlx.cvat import create

    function = create(str(folder / "vit_b.pth"), interactive=True)
    kept: dict[Path, Any] = {}  # as the agent keeps it

    def ask(path: Path) -> Any:
        if path not in kept:
            kept[path] = function.preprocess_image(None, Image.open(path))
        prompts = SimpleNamespace(pos_points=[CLICK], neg_points=[], bounding_box=None)
        return function.detect(None, kept[path], prompts)

    return ask


# What other tools' servers call: Meta's package, and how they write masks.


def meta(folder: Path, finish: Callable[[np.ndarray], Any], read: Callable[[Path], Any]) -> Ask:
    from convert.reference import import_segment_anything

    package = import_segment_anything()
    predictor = package.SamPredictor(package.sam_model_registry["vit_b"](folder / "vit_b.pth"))
    kept: list[Path] = []

    def ask(path: Path) -> Any:
        image = read(path)
        if kept != [path]:
            predictor.set_image(image)
            kept[:] = [path]
        masks, _, _ = predictor.predict(np.array([CLICK]), np.array([1]), multimask_output=False)
        return finish(masks[0])

    return ask


def label_studio_own(folder: Path) -> Ask:
    """What HumanSignal's example backend calls for its choice ``SAM``."""
    brush = import_module("label_studio_sdk.converter.brush")
    return meta(folder, lambda mask: brush.mask2rle(mask.astype(np.uint8) * 255), pixels)


def qupath_own(folder: Path) -> Ask:
    """What samapi calls: the longest contour of the mask."""
    from skimage.measure import find_contours

    def read(path: Path) -> np.ndarray:
        return pixels(io.BytesIO(base64.b64decode(encoded(path))))  # type: ignore[arg-type]

    return meta(
        folder, lambda mask: max(find_contours(np.pad(mask, 1), 0.5), key=len).tolist(), read
    )


SERVED = {f.__name__: f for f in (x_anylabeling, label_studio, qupath, program)}
RUN = {f.__name__: f for f in (labelme, cvat, x_anylabeling_own, label_studio_own, qupath_own,
                               labelme_own)}  # fmt: skip


ROWS = [*RUN, *SERVED]


# Measuring.


def cpu_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def asking(row: str, folder: Path) -> Iterator[tuple[Ask, list[int]]]:
    """A row's click, and the processes that work for it."""
    if row in RUN:
        yield RUN[row](folder), [os.getpid()]
        return
    command = [sys.executable, "-m", "sam_mlx", "serve", "--model", str(folder / "vit_b.pth")]
    root = {"LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(folder)}
    server = subprocess.Popen(
        [*command, "--port", "0"], stdout=subprocess.PIPE, text=True, env=os.environ | root
    )
    try:
        assert server.stdout is not None
        address = server.stdout.readline().strip().rstrip("/")
        yield SERVED[row](address, folder), [os.getpid(), server.pid]
    finally:
        server.terminate()
        server.wait()


def measure(row: str, folder: Path, count: int) -> dict[str, list[float]]:
    """Seconds, wall and CPU, of first clicks in new pictures and of second ones: medians."""
    found: dict[str, list[tuple[float, float]]] = {"first": [], "next": []}
    with asking(row, folder) as (ask, processes):

        def timed(kind: str, path: Path) -> None:
            before, start = sum(map(cpu_seconds, processes)), time.perf_counter()
            assert ask(path), f"{row} found nothing"
            wall, after = time.perf_counter() - start, sum(map(cpu_seconds, processes))
            found[kind].append((wall, after - before))

        for number in range(count):
            path = picture(folder, number)
            timed("first", path)
            timed("next", path)
            timed("next", path)
    return {
        kind: [statistics.median(column) for column in zip(*taken)] for kind, taken in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="for weights and pictures")
    parser.add_argument("--count", type=int, default=5, help="new pictures, the first cold")
    parser.add_argument("--rows", nargs="+", default=ROWS, choices=ROWS)
    parser.add_argument("--row", choices=ROWS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.row:
        print(json.dumps(measure(args.row, args.folder, args.count)))
        return
    prepare(args.folder)
    print("| row | new picture: s, CPU s | next click: s, CPU s |", "|---|---|---|", sep="\n")
    for row in args.rows:
        command = [sys.executable, "-m", "examples.benchmarks.label_tools", str(args.folder),
                   "--row", row, "--count", str(args.count)]  # fmt: skip
        home = os.environ | {"HOME": str(args.folder)}
        done = subprocess.run(command, env=home, stdout=subprocess.PIPE, text=True, check=True)
        found = json.loads(done.stdout.strip().splitlines()[-1])
        cells = (", ".join(f"{s:.2f}" for s in found[kind]) for kind in ("first", "next"))
        print(f"| {row} |", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
