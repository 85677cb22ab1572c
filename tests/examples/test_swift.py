"""The Swift package's part without MLX: built and tested against what Python computes here."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sam_mlx import SamPredictor
from sam_mlx.export import export
from tests.support.swift_vectors import write_vectors

PACKAGE = Path(__file__).parents[2] / "examples" / "swift"
SOURCES = [path for path in PACKAGE.rglob("*.swift") if ".build" not in path.parts]
pytestmark = pytest.mark.skipif(shutil.which("swift") is None, reason="not installed: swift")


def run(*command, **variables) -> None:
    environment = {**os.environ, "SAM_WITHOUT_MLX": "1", **variables}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr


def test_plain_part_equals_python(tmp_path):
    predictor = SamPredictor.from_pretrained("nano")
    predictor.set_image(PACKAGE.parent / "images" / "plate.png")
    write_vectors(tmp_path, predictor)
    export(predictor.model, tmp_path / "export", points=[1, 4])
    # A build that lies there already saves half a minute: SAM_SWIFT_BUILD names its folder.
    build = os.environ.get("SAM_SWIFT_BUILD", str(tmp_path / "build"))
    arguments = ["--package-path", str(PACKAGE), "--scratch-path", build]
    # Optimised: pixel by pixel, a debug build takes twenty times as long.
    run("swift", "test", *arguments, "-Xswiftc", "-O", SAM_VECTORS=str(tmp_path))
    check_pictures(tmp_path)


def check_pictures(folder: Path) -> None:
    """What Swift wrote, read by Pillow."""
    expected = np.array(Image.open(folder / "resized7.ppm"))
    assert (np.array(Image.open(folder / "written.ppm")) == expected).all()
    rgba = np.array(Image.open(folder / "written-rgba.png"))
    assert (rgba[..., :3] == expected).all()
    assert (rgba[..., 3].ravel() == np.arange(rgba[..., 3].size) % 256).all()
    mask = np.array(Image.open(folder / "written-mask.png"))
    bits = np.fromfile(folder / "runs11", np.uint8).reshape(mask.shape)
    assert bits.any() and (mask == 255 * bits).all()


def test_sources_are_formatted():
    run("swift", "format", "lint", "--strict", *map(str, SOURCES))


def test_views_parse():
    """They need SwiftUI to compile."""
    views = [str(path) for path in SOURCES if "Demo" in path.relative_to(PACKAGE).parts[:1]]
    assert len(views) >= 5
    for view in views:
        run("swiftc", "-parse", view)
    run("swift", "package", "--package-path", str(PACKAGE / "Demo"), "dump-package")


def test_readme_shows_the_snippets():
    """Every block of the README stands in a snippet, and SwiftPM compiles those."""

    def lines(text: str) -> str:
        return "\n".join(["", *(line.strip() for line in text.strip().splitlines()), ""])

    blocks = re.findall(r"```swift\n(.*?)```", (PACKAGE / "README.md").read_text(), re.S)
    snippets = [lines(path.read_text()) for path in (PACKAGE / "Snippets").glob("*.swift")]
    assert len(blocks) == len(snippets)
    for block in blocks:
        assert any(lines(block) in snippet for snippet in snippets), block
