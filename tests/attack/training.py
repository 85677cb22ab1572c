"""``kill -9`` at random moments of a training, which is resumed: the same log, bit for bit.

``python -m tests.attack.training 30`` kills 30 times, each level a third of them, and compares the
log and the weights with those of a training that nobody disturbs.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from sam_mlx.tuner.data import open_data
from sam_mlx.tuner.examples import examples_of
from sam_mlx.tuner.levels import LEVELS
from sam_mlx.tuner.options import TrainingOptions
from sam_mlx.tuner.trainer import Trainer
from tests.attack.kills import done
from tests.support.models import SMALL, random_sam
from tests.support.tuner import write_data

ITERS = 24
COMPARED = "log.jsonl", "best.safetensors", "last.safetensors"


def train(folder: Path) -> None:
    """Begins, or goes on, as ``finetune --resume``."""
    found = examples_of(open_data(folder / "data"), 25, None)
    options = TrainingOptions(
        train=(folder / "level").read_text(), iters=ITERS, objects=2, clicks=1, views=2,
        steps_per_report=2, steps_per_eval=3, learning_rate=1e-3, patience=ITERS,
    )  # fmt: skip
    state = folder / (folder / "name").read_text()
    one = Trainer(random_sam(SMALL), found[:2], found[2:], options, state)
    if (state / "last.safetensors").exists():
        one.resume()
    one.run()


def child(folder: Path) -> int:
    """A process that trains, and ends with 1 after an error."""
    process = os.fork()
    if process:
        return process
    try:
        train(folder)
        os._exit(0)
    except BaseException as error:
        (folder / "error").write_text(repr(error))
        os._exit(1)


def attack(level: str, times: int, chance: random.Random) -> int:
    """Returns how many were killed before their end."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_data(folder / "data", 3)
        (folder / "level").write_text(level)
        (folder / "name").write_text("whole")
        took = done(train, folder)
        (folder / "name").write_text("parts")
        killed = 0
        while killed < times:
            process = child(folder)
            # Long enough for a state or two, as validation comes every three steps.
            time.sleep(chance.uniform(0, took / 2))
            os.kill(process, signal.SIGKILL)
            status = os.waitpid(process, 0)[1]
            assert status in (0, signal.SIGKILL), (folder / "error").read_text()
            killed += status != 0
            if status == 0:
                compare(folder)
                for file in (folder / "parts").iterdir():
                    if file.is_file():
                        file.unlink()
        done(train, folder)
        compare(folder)
        return killed


def compare(folder: Path) -> None:
    for name in COMPARED:
        one, other = (content(folder / kind / name) for kind in ("whole", "parts"))
        different = [key for key in one.keys() | other.keys() if one.get(key) != other.get(key)]
        assert not different, f"{name} differs in {different[:5]}"


def content(file: Path) -> dict[str, object]:
    """A file's bytes; of safetensors those of each tensor, for their order says nothing."""
    data = file.read_bytes()
    if file.suffix != ".safetensors":
        return {"": data}
    length = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    metadata = {"__metadata__": header.pop("__metadata__", None)}
    return metadata | {
        name: (entry["dtype"], entry["shape"], body[slice(*entry["data_offsets"])])
        for name, entry in header.items()
    }


if __name__ == "__main__":
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 6
    for level in LEVELS:
        print(level, attack(level, times // len(LEVELS), random.Random(0)), flush=True)
