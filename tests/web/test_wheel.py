"""What ``sam-mlx web`` needs is in the wheel."""

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_and_its_first_picture_are_in_the_wheel(tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        coins = archive.read("sam_mlx/assets/coins.png")
        names = set(archive.namelist())
    assert coins == (ROOT / "examples" / "images" / "coins.png").read_bytes()
    page = ROOT / "sam_mlx" / "web" / "page"
    assert {f"sam_mlx/web/page/{path.name}" for path in page.glob("*.*")} <= names
