"""The notebooks run, and what is stored in them is what they print today."""

import ast
import contextlib
import io
import json
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from tests.support.source import ROOT

FOLDER = ROOT / "examples" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def cells_of(path: Path) -> list[dict]:
    """The cells of code."""
    return [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]


def run(source: str, names: dict) -> tuple[str, object]:
    """What a cell prints, and its last value, as Jupyter shows them."""
    body = ast.parse(source).body
    last = body.pop() if isinstance(body[-1], ast.Expr) else None
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(ast.Module(body, []), "cell", "exec"), names)
        value = eval(compile(ast.Expression(last.value), "cell", "eval"), names) if last else None
    return said.getvalue(), value


def shown(cell: dict) -> tuple[str, dict]:
    """What is stored of a cell: what it printed, and its value by form."""
    text, value = "", {}
    for output in cell["outputs"]:
        text += "".join(output.get("text", ""))
        value |= output.get("data", {})
    return text, value


def test_there_are_six():
    assert [path.name[0] for path in NOTEBOOKS] == list("123456")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_they_are_stored_whole(path):
    """With their outputs, in order, without errors and paths of a machine."""
    cells = cells_of(path)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert {o["output_type"] for o in outputs} <= {"stream", "execute_result"}
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not re.search(r"/(home|work|tmp|Users)/", path.read_text())
    assert path.stat().st_size < 2_000_000


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_they_run_and_give_what_is_stored(path, tmp_path, monkeypatch):
    (tmp_path / "images").symlink_to(ROOT / "examples" / "images")
    (tmp_path / "notebooks").mkdir()
    shutil.copy(path, tmp_path / "notebooks")
    monkeypatch.chdir(tmp_path / "notebooks")
    names: dict = {}
    for cell in cells_of(path):
        printed, value = run("".join(cell["source"]), names)
        text, stored = shown(cell)
        assert printed == text, "".join(cell["source"])
        assert isinstance(value, Image.Image) == ("image/png" in stored)
        if "image/png" not in stored and value is not None:
            assert repr(value).split() == "".join(stored["text/plain"]).split()
