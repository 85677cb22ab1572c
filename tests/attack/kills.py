"""``kill -9``, or SIGTERM, at a random moment of auto, export, convert and save.

``python -m tests.attack.kills 200`` kills each of them 200 times. After every kill, whatever has
its final name is whole, links lead where they led, and what users have beside it is as it was, also
under names like those of unfinished folders; after the next run there is nothing else.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from convert.__main__ import main as convert
from convert.meta import build_meta
from sam_mlx import ImageEmbedding, Sam, SamPredictor
from sam_mlx.cli import main
from tests.support.models import SMALL


def auto(folder: Path) -> int:
    flags = ["--points-per-side", "2", "--pred-iou-thresh", "0", "--stability-score-thresh", "0"]
    formats = ["--format", "masks", "coco", "sa1b", "overlay", "labelmap"]
    flags += ["--model", str(folder / "model"), "--recursive"]
    code = main(["auto", str(folder / "in"), "-o", str(folder / "out"), *flags, *formats])
    return code - 1  # the pipe among the pictures is not read


def check_auto(folder: Path) -> None:
    for file in (folder / "out").rglob("*") if (folder / "out").exists() else ():
        if is_unfinished(file) or file.name == USERS or not file.is_file():
            continue
        if file.suffix == ".json":
            json.loads(file.read_text())
        elif file.suffix == ".png":
            Image.open(file).load()


USERS = "mine.txt"
LINKED = "0_overlay.png"  # a result that is written through a link, to another folder


def users(folder: Path) -> None:
    """What users have beside results: folders called as unfinished ones, a result behind a link."""
    for name in (".partial-0", ".partial-backup_1", ".partial-0123456789abcdef-0123456789abcdef"):
        (folder / "out" / name).mkdir(parents=True, exist_ok=True)
        (folder / "out" / name / USERS).write_text("a user's")
    for name in (LINKED, "embedding"):
        if not (folder / "out" / name).is_symlink():
            (folder / "elsewhere" / name).unlink(missing_ok=True)
            (folder / "out" / name).symlink_to(folder / "elsewhere" / name)


def check_users(folder: Path) -> None:
    if (folder / "out").exists():
        mine = [path.read_text() for path in (folder / "out").glob(f".partial-*/{USERS}")]
        assert mine == ["a user's"] * 3, mine
        assert all((folder / "out" / name).is_symlink() for name in (LINKED, "embedding"))


def is_unfinished(path: Path) -> bool:
    return ".partial-" in str(path) and not (path.parent / USERS).exists()


def export(folder: Path) -> int:
    return main(["export", str(folder / "model"), str(folder / "out" / "files"), "--points", "2"])


def check_export(folder: Path) -> None:
    files = folder / "out" / "files"
    if files.exists():
        names = {"encoder.mlxfn", "decoder.mlxfn", "export.json"}
        assert {path.name for path in files.iterdir()} == names
        for name, file in json.loads((files / "export.json").read_text())["files"].items():
            assert (files / name).stat().st_size == file["bytes"]
        shutil.rmtree(files)


def convert_small(folder: Path) -> int:
    return convert([str(folder / "small.pth"), str(folder / "out" / "small")])


def check_model(folder: Path) -> None:
    for path in (folder / "out").iterdir() if (folder / "out").exists() else ():
        if path.is_dir() and not path.name.startswith(".partial-"):
            Sam.from_pretrained(path)
            shutil.rmtree(path)


def save(folder: Path) -> None:
    (folder / "out").mkdir(exist_ok=True)
    predictor = SamPredictor.from_pretrained(folder / "model")
    predictor.set_image(np.zeros((40, 50, 3), np.uint8))
    for _ in range(20):
        predictor.get_image_embedding().save(folder / "out" / "embedding")
        shutil.rmtree(folder / "out" / "model", ignore_errors=True)
        predictor.model.save_pretrained(folder / "out" / "model")


def check_saved(folder: Path) -> None:
    if (folder / "out" / "embedding").exists():
        ImageEmbedding.load(folder / "out" / "embedding")
    if (model := folder / "out" / "model").exists():
        with contextlib.suppress(FileNotFoundError):  # killed while it was being deleted
            Sam.from_pretrained(model)


ACTS = {
    "auto": (auto, check_auto),
    "export": (export, check_export),
    "convert": (convert_small, check_model),
    "save": (save, check_saved),
}


def prepare(folder: Path) -> None:
    """Made in a process of its own: here MLX must not have computed before a fork."""
    (folder / "in").mkdir()
    pixels = np.random.default_rng(0)
    for name in ("0.png", "day1/IMG_1.png", "day2/IMG_1.png"):
        noise = pixels.integers(0, 256, (60, 80, 3), np.uint8)
        (folder / "in" / name).parent.mkdir(exist_ok=True)
        Image.fromarray(noise).save(folder / "in" / name)
    os.mkfifo(folder / "in" / "pipe.png")
    (folder / "in" / "day1" / "round").symlink_to("..")
    (folder / "elsewhere").mkdir()
    Sam(SMALL).save_pretrained(folder / "model")
    torch.save(build_meta(SMALL).state_dict(), folder / "small.pth")


def child(work: Callable[[Path], int | None], folder: Path) -> int:
    process = os.fork()
    if process:
        return process
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)
        os._exit(work(folder) or 0)
    except BaseException as error:
        (folder / "error").write_text(repr(error))
        os._exit(1)


def done(work: Callable[[Path], int | None], folder: Path) -> float:
    """Seconds that it takes undisturbed."""
    start = time.perf_counter()
    code = os.waitstatus_to_exitcode(os.waitpid(child(work, folder), 0)[1])
    error = folder / "error"
    assert code == 0, error.read_text() if error.exists() else f"exit code {code}"
    return time.perf_counter() - start


def left(folder: Path) -> list[str]:
    paths = [p for name in ("out", "elsewhere") for p in (folder / name).rglob("*")]
    paths = [p for p in paths if p.name != USERS]
    paths = [p for p in paths if not (p / USERS).exists()]
    return sorted(str(p) for p in paths if ".partial" in str(p) or p.name == ".lock")


def attack(name: str, folder: Path, times: int, chance: random.Random) -> dict[str, float]:
    """Returns how many were killed, all before their end, and how often that left something."""
    act, check = ACTS[name]
    shutil.rmtree(folder / "out", ignore_errors=True)
    users(folder)
    took = done(act, folder)
    done(check, folder)
    counts = {"killed": 0, "left something": 0, "seconds undisturbed": round(took, 2)}
    while counts["killed"] < times:
        if name == "auto" and chance.random() < 0.3:
            shutil.rmtree(folder / "out", ignore_errors=True)
            users(folder)
        process = child(act, folder)
        time.sleep(chance.uniform(0, took))
        os.kill(process, chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]))
        counts["killed"] += os.waitpid(process, 0)[1] != 0
        done(check, folder)
        check_users(folder)
        counts["left something"] += bool((folder / "out").exists() and left(folder))
    done(act, folder)
    check_users(folder)
    assert left(folder) == [], left(folder)
    return counts


if __name__ == "__main__":
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    with tempfile.TemporaryDirectory() as folder:
        done(prepare, Path(folder))
        for name in ACTS:
            print(name, attack(name, Path(folder), times, random.Random(0)), flush=True)
