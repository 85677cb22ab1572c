"""How commands print: whatever the terminal shows, and whoever reads."""

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sam_mlx.cli import COMMANDS, main
from sam_mlx.images import load_image
from sam_mlx.terminal import say

COINS = Path(__file__).parents[1] / "sam_mlx" / "assets" / "coins.png"
STEERING = "caf\u00e9 \x1b[31mred\n\u202egnp"
ESCAPED = "\\x1b[31mred\\n\\u202egnp"


ENCODINGS = pytest.mark.parametrize("encoding", ["ascii", "utf-8", "latin-1"])


class Terminal:
    """A terminal of some encoding in the place of stdout and stderr."""

    def __init__(self, monkeypatch, encoding):
        self.streams = [
            io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors=errors)
            for errors in ("strict", "backslashreplace")  # as Python's own
        ]
        for name, stream in zip(("stdout", "stderr"), self.streams):
            monkeypatch.setattr(sys, name, stream)

    def shown(self):
        return [s.buffer.getvalue().decode(s.encoding) for s in self.streams]


@ENCODINGS
def test_any_name_can_be_shown(encoding, monkeypatch):
    terminal = Terminal(monkeypatch, encoding)
    for error in (False, True):
        say(f"{STEERING} \udcff", error=error)
    for shown in terminal.shown():
        assert shown.endswith(f" {ESCAPED} \\udcff\n") and shown.count("\n") == 1
        assert shown.startswith(("caf\u00e9", "caf\\xe9"))


@ENCODINGS
def test_all_commands_show_any_name(encoding, monkeypatch, tmp_path):
    """predict stopped between its files, info and export after the work."""
    terminal = Terminal(monkeypatch, encoding)
    folder = tmp_path / STEERING
    folder.mkdir()
    picture = folder / f"{STEERING}.png"
    Image.open(COINS).save(picture)
    (folder / f"{STEERING}.jpg").write_bytes(b"no picture")
    shown = 0
    for command, code in [
        (["predict", picture, "--point", "138", "53", "-o", folder / "out", "--format", "svg"], 0),
        (["auto", folder, "-o", tmp_path / f"auto{STEERING}", "--points-per-side", "2"], 1),
        (["info", folder / "none"], 2),
        (["web", folder / "none"], 2),
    ]:
        assert main([str(part) for part in command]) == code
        lines = "".join(terminal.shown()).splitlines()
        assert len(lines) > shown and all(line.isprintable() for line in lines)
        shown = len(lines)
    assert {path.name for path in (folder / "out").iterdir()} == {
        "mask.png", "overlay.png", "logits.npy", "object.svg",
    }  # fmt: skip
    assert any(f"{ESCAPED}.jpg: cannot read" in line for line in lines)


def test_warnings_are_lines(tmp_path, monkeypatch):
    terminal = Terminal(monkeypatch, "ascii")
    array = np.asarray(Image.open(COINS).convert("L")).astype(np.uint16) << 3
    Image.fromarray(array).save(tmp_path / "deep.png")
    pages = [Image.open(COINS)] * 2
    pages[0].save(tmp_path / f"{STEERING}.tif", save_all=True, append_images=pages[1:])
    for path in tmp_path.iterdir():
        out = ["-o", str(tmp_path / "out")]
        assert main(["predict", str(path), "--point", "138", "53", *out]) == 0
    lines = terminal.shown()[1].splitlines()
    assert [line.split(": ")[:2] for line in lines] == [["sam-mlx", "warning"]] * 2
    assert any("taken for 11-bit ones" in line for line in lines)
    assert any(f"{ESCAPED}.tif has 2 frames" in line for line in lines)
    with pytest.warns(UserWarning, match="11-bit"):  # as before
        load_image(array)


@ENCODINGS
def test_bad_usage_shows_any_name(encoding, monkeypatch):
    terminal = Terminal(monkeypatch, encoding)
    with pytest.raises(SystemExit):
        main(["info", "nano", STEERING])
    error = terminal.shown()[1]
    assert "unrecognized arguments: caf" in error and ESCAPED in error and "error" in error


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_is_ascii(command, capsys):
    with pytest.raises(SystemExit):
        main([*command.split(), "--help"])
    assert capsys.readouterr().out.isascii()


def run(command: str, **more) -> subprocess.CompletedProcess:
    shell = ["bash", "-c", f"set -o pipefail; {sys.executable} -m sam_mlx {command}"]
    return subprocess.run(shell, capture_output=True, text=True, timeout=300, **more)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["info nano", "--help", "info none"])
@pytest.mark.parametrize("to", ["| head -n 1", "| true", ">&-", "2>&-", ">&- 2>&-"])
def test_where_nobody_reads_the_end_is_silent(command, to):
    done = run(f"{command} {to}")
    assert done.returncode == (2 if command == "info none" else 0)
    assert "Traceback" not in done.stderr and "Broken" not in done.stderr
    if command != "--help":  # which argparse prints to the one that is open
        assert done.stderr.count("\n") == (command == "info none" and "2>&-" not in to)


def test_work_is_done_where_nobody_reads(tmp_path):
    done = run(f"predict {COINS} --point 138 53 -o {tmp_path / 'out'} --multimask | true")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(os.listdir(tmp_path / "out")) == 5


@pytest.mark.parametrize("environment", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C"}])
def test_a_terminal_without_the_letters(environment, tmp_path):
    out = tmp_path / STEERING
    command = [sys.executable, "-m", "sam_mlx", "predict", COINS, "--point", "138", "53", "-o", out]
    done = subprocess.run(command, capture_output=True, env={**os.environ, **environment})
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(os.listdir(out)) == 3 and b"\\x1b[31mred" in done.stdout
