"""Damaged pictures through ``sam-mlx auto``: ``python -m tests.attack.pictures 20000``.

Among them, one in twenty is a pipe, a device, a sparse file or a link that leads astray; some have
names that control terminals, share a name with others in folders of their own, or lie behind links
that lead in a circle. Prints what became of them; fails on a traceback, on what a terminal would
obey, on another exit code than 0 or 1, on leftovers, and where there are more or fewer answers.
"""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from sam_mlx import Sam
from tests.attack import special
from tests.support.models import SMALL

# By Pillow's names, with modes that each can hold.
FORMATS = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "JPEG": ("L", "RGB", "CMYK"),
    "TIFF": ("1", "L", "RGB", "RGBA", "CMYK", "I;16", "F", "I"),
    "WEBP": ("RGB", "RGBA"),
    "GIF": ("L", "P", "RGB"),
    "BMP": ("1", "L", "P", "RGB"),
    "PPM": ("1", "L", "RGB"),
    "TGA": ("L", "P", "RGB", "RGBA"),
    "JPEG2000": ("L", "RGB", "RGBA"),
    "ICO": ("RGB", "RGBA"),
}
ENDINGS = {"JPEG": "jpg", "JPEG2000": "jp2", "TIFF": "tif"}


def whole(name: str, chance: random.Random) -> bytes:
    """A sound picture of noise and blocks."""
    size = chance.randint(1, 40), chance.randint(1, 40)
    pixels = np.random.default_rng(chance.random().as_integer_ratio()[0])
    image = Image.fromarray(pixels.integers(0, 256, (*size, 3), dtype=np.uint8))
    mode = chance.choice(FORMATS[name])
    image = image.convert("I").convert(mode) if mode == "I;16" else image.convert(mode)
    options = {"compression": chance.choice([None, "tiff_lzw", "jpeg"])} if name == "TIFF" else {}
    if mode not in ("L", "RGB"):
        options = {}
    exif = Image.Exif()
    exif[0x0112] = chance.randint(1, 8)
    if name in ("JPEG", "PNG", "WEBP", "TIFF") and chance.random() < 0.3:
        options["exif"] = exif
    file = BytesIO()
    image.save(file, name, **options)
    return file.getvalue()


def damaged(data: bytes, other: bytes, chance: random.Random) -> bytes:
    """One to four of: bits flipped, cut short, bytes gone, doubled, set, another file's spliced."""
    for _ in range(chance.randint(1, 4)):
        content = bytearray(data)
        # Headers are where decoders go astray.
        span = len(content) if chance.random() < 0.5 else min(64, len(content))
        at = chance.randrange(max(span, 1))
        count = chance.randint(1, 12)
        match chance.randrange(7):
            case 0:
                for _ in range(count):
                    if content:
                        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
            case 1:
                del content[at:]
            case 2:
                del content[at : at + count]
            case 3:
                content[at:at] = content[at : at + count]
            case 4:
                content[at : at + 4] = chance.choice([bytes(4), b"\xff" * 4, b"\x7f" + b"\xff" * 3])
            case 5:
                content[at:] = other[at:]
            case 6:
                content[at : at + count] = chance.randbytes(count)
        data = bytes(content)
    return data


def write(folder: Path, count: int, seed: int) -> None:
    chance = random.Random(seed)
    names = list(FORMATS)
    for i in range(count):
        name = names[i % len(names)]
        path = place(folder, i, ENDINGS.get(name, name.lower()), chance)
        if chance.random() < 0.05:
            kinds = special.KINDS.keys() - special.FOLDERS
            special.KINDS[chance.choice(sorted(kinds))](path)
            continue
        data = damaged(whole(name, chance), whole(chance.choice(names), chance), chance)
        path.write_bytes(data)


def place(folder: Path, number: int, ending: str, chance: random.Random) -> Path:
    """Where a picture goes; now and then a link beside it leads back to the top."""
    match chance.randrange(20):
        case 0:
            return folder / f"{number:06}{special.name(chance)}.{ending}"
        case 1:
            folder /= f"{number:06}"
            folder.mkdir()
            (folder / "round").symlink_to(folder.parent)
            return folder / f"IMG_1.{ending}"
        case _:
            return folder / f"{number:06}.{ending}"


def segment(folder: Path, count: int, seed: int) -> Counter[str]:
    """Run the command over that many; returns how many were segmented, and why others not."""
    (folder / "in").mkdir()
    write(folder / "in", count, seed)
    Sam(SMALL).save_pretrained(folder / "model")
    command = [sys.executable, "-m", "sam_mlx", "auto", "in", "-o", "out", "--model", "model"]
    command += ["--points-per-side", "1", "--max-pixels", "20000000", "--recursive"]
    command += ["--format", "rle", "coco"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode not in (0, 1) or "Traceback" in done.stderr:
        raise AssertionError(f"exit code {done.returncode}\n{done.stdout}\n{done.stderr[-3000:]}")
    left = [p.name for p in (folder / "out").iterdir() if p.name.startswith(".partial")]
    if left:
        raise AssertionError(f"left behind: {left}")
    if not all(line.isprintable() for line in (done.stdout + done.stderr).split("\n")):
        raise AssertionError(f"not printable: {done.stdout + done.stderr!r}")
    said = Counter(map(kind, re.findall(r"^not (?:read|written): .*?: (.*)", done.stderr, re.M)))
    results = [p for p in (folder / "out").rglob("*.json") if ".coco" not in p.parts]
    said["segmented"] = sum(p.name[0] != "." and ".pictures" not in p.parts for p in results) - 1
    images = json.loads((folder / "out" / "annotations.json").read_text())["images"]
    names = {image["file_name"] for image in images}
    if not sum(said.values()) - count == 0 == len(names) - said["segmented"]:
        raise AssertionError(f"{count} pictures, {len(names)} names, but {said}")
    return said


def kind(message: str) -> str:
    """An error without what is particular to a file."""
    return re.sub(r"[\d.]+|in/\S+|b'.*?'", "#", message.removeprefix("cannot read "))[:70]


def lines(said: Counter[str], most: int = 25) -> Iterator[str]:
    yield from (f"{count:6} {what}" for what, count in said.most_common(most))
    rest = said.most_common()[most:]
    if rest:
        yield f"{sum(count for _, count in rest):6} of {len(rest)} other kinds"


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    with tempfile.TemporaryDirectory() as folder:
        print("\n".join(lines(segment(Path(folder), count, seed))))
