"""The part of the Swift package without MLX, built and compared with what Python computes here."""

import json
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
from tests.support.source import ROOT
from tests.support.swift_vectors import write_vectors

FOLDER = ROOT / "examples" / "swift"
README = (FOLDER / "README.md").read_text()
SOURCES = [path for path in FOLDER.rglob("*.swift") if ".build" not in path.parts]
pytestmark = pytest.mark.skipif(shutil.which("swift") is None, reason="not installed: swift")


def run(*command, **variables) -> str:
    environment = {**os.environ, "SAM_WITHOUT_MLX": "1", **variables}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_plain_part_equals_python(tmp_path):
    predictor = SamPredictor.from_pretrained("nano")
    predictor.set_image(ROOT / "examples" / "images" / "plate.png")
    write_vectors(tmp_path, predictor)
    export(predictor.model, tmp_path / "export", points=[1, 4])
    # SAM_SWIFT_BUILD names the folder of an existing build, which saves half a minute.
    build = os.environ.get("SAM_SWIFT_BUILD", str(tmp_path / "build"))
    arguments = ["--package-path", str(ROOT), "--scratch-path", build]
    # Optimised: a debug build takes twenty times as long for each pixel.
    run("swift", "test", *arguments, "-Xswiftc", "-O", SAM_VECTORS=str(tmp_path))
    check_pictures(tmp_path)


def check_pictures(folder: Path) -> None:
    """Pillow reads what Swift wrote."""
    expected = np.array(Image.open(folder / "resized7.ppm"))
    assert (np.array(Image.open(folder / "written.ppm")) == expected).all()
    rgba = np.array(Image.open(folder / "written-rgba.png"))
    assert (rgba[..., :3] == expected).all()
    assert (rgba[..., 3].ravel() == np.arange(rgba[..., 3].size) % 256).all()
    mask = np.array(Image.open(folder / "written-mask.png"))
    bits = np.fromfile(folder / "runs11", np.uint8).reshape(mask.shape)
    assert bits.any() and (mask == 255 * bits).all()


APP = """// swift-tools-version: 6.0
import PackageDescription

let package = Package(
    name: "App",
    platforms: [.macOS(.v14)],
    dependencies: [{package}],
    targets: [.executableTarget(name: "App", dependencies: [{product}])]
)
"""
MAIN = """
import DemoModel
import SegmentAnythingImaging

let picture = try RGBImage(bytes: [1, 2, 3, 4, 5, 6], width: 2, height: 1)
let mask = Mask(bits: [false, true], width: 2, height: 1, score: 1)
print(Layer.cutOut(of: picture, mask: mask)?.rgba ?? [])
"""


@pytest.mark.slow
def test_an_app_adds_the_repository_by_its_url(tmp_path):
    """The README's two lines, with a copy of the repository and a product that needs no MLX."""
    package, product = re.findall(r"^\.(?:package|product)\(.*\)$", README, re.M)
    package = package.replace("https://github.com/sam-mlx/sam-mlx", release(tmp_path / "sam-mlx"))
    product = product.replace('"SegmentAnything"', '"DemoModel"')
    app = tmp_path / "app"
    (app / "Sources" / "App").mkdir(parents=True)
    (app / "Sources" / "App" / "main.swift").write_text(MAIN)
    # SwiftPM is stricter with releases than with branches.
    for requirement in ('branch: "main"', 'from: "0.1.0"'):
        line = package.replace('branch: "main"', requirement)
        (app / "Package.swift").write_text(APP.format(package=line, product=product))
        shared = ["--cache-path", str(tmp_path / "cache")]
        assert run("swift", "run", "--package-path", str(app), *shared) == "[4, 5, 6, 255]\n"
        (pin,) = json.loads((app / "Package.resolved").read_text())["pins"]
        assert pin["state"].keys() >= {"version" if "from" in requirement else "branch"}


def release(folder: Path) -> str:
    """The URL of a git repository that has the Swift package, and one release."""
    shutil.copytree(FOLDER, folder / "examples/swift", ignore=shutil.ignore_patterns(".build"))
    shutil.copy(ROOT / "Package.swift", folder)
    author = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    for command in ("init -qb main", "add .", "commit -qm Release", "tag v0.1.0"):
        run("git", "-C", str(folder), *author, *command.split())
    return folder.as_uri()


def test_sources_are_formatted():
    run("swift", "format", "lint", "--strict", str(ROOT / "Package.swift"), *map(str, SOURCES))


def test_views_parse():
    """They are not compiled, because that needs SwiftUI."""
    views = [str(path) for path in SOURCES if path.is_relative_to(FOLDER / "Demo")]
    assert len(views) >= 5
    for view in views:
        run("swiftc", "-parse", view)


def test_the_demo_depends_on_the_package_at_the_root(tmp_path):
    arguments = ["--package-path", str(FOLDER / "Demo"), "--scratch-path", str(tmp_path)]
    manifest = json.loads(run("swift", "package", *arguments, "dump-package"))
    (dependency,) = manifest["dependencies"]
    assert dependency["fileSystem"][0]["path"] == str(ROOT)


def test_readme_shows_the_snippets():
    """Every block of the README that is not for a manifest is in a snippet, which is compiled."""

    def lines(text: str) -> str:
        return "\n".join(["", *(line.strip() for line in text.strip().splitlines()), ""])

    blocks = re.findall(r"```swift\n(?!\.package)(.*?)```", README, re.S)
    snippets = [lines(path.read_text()) for path in (FOLDER / "Snippets").glob("*.swift")]
    assert len(blocks) == len(snippets)
    for block in blocks:
        assert any(lines(block) in snippet for snippet in snippets), block
