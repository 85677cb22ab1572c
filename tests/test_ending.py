"""Signals end every command within two seconds, in the midst of whatever it does."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from sam_mlx import ending
from sam_mlx.files import packaged

SECONDS = 20  # far less than the work, far more than the end takes on a busy machine
# A command whose work would take minutes; it says "ending" once it is there.
PROGRAM = """
import signal, sys, threading, time
import mlx.core as mx
import numpy as np
from sam_mlx import Sam, SamAutomaticMaskGenerator, SamPredictor
from sam_mlx.machine.worker import long_work

# As in a terminal: a shell starts what runs in the background with the signal ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)

def begun():
    threading.Timer(0.3, lambda: print("ending", flush=True)).start()

@long_work
def compute(*_, **__):
    begun()
    x = mx.random.normal((2000, 2000))
    for _ in range(20000):
        x = x @ x * 1e-3
    mx.eval(x)

def idle(*_, **__):
    begun()
    while True:
        time.sleep(0.01)

def deaf(*_, **__):
    begun()
    while True:
        try:
            time.sleep(1000)
        except KeyboardInterrupt:
            pass

"""
COINS = str(packaged("coins.png"))
OUT = ["-o", "out"]
# The arguments of each command, and what of it never ends.
COMMANDS = {
    "predict": (["predict", COINS, "--point", "5", "5", *OUT], "SamPredictor.set_image"),
    "auto": (["auto", COINS, *OUT, "--format", "coco"], "SamAutomaticMaskGenerator.generate"),
    "info": (["info", "nano"], "Sam.load"),
    "export": (["export", "nano", "out/deep/er"], "sam_mlx.export.write_files"),
    "web": (["web", COINS, "--no-open", "--port", "0"], "Sam.load"),
}


@pytest.fixture(autouse=True)
def not_ignored():
    """As in a terminal: under nohup children would ignore SIGHUP."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def run(program: str, folder: Path, sent: int) -> tuple[int, list[str], float]:
    """Exit code and errors of a program, and the seconds that it took to end after a signal."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", program]
    process = subprocess.Popen(command, cwd=folder, stdout=pipe, stderr=pipe, text=True)
    try:
        while (line := process.stdout.readline()) and line != "ending\n":
            pass
        assert line, process.stderr.read()
        start = time.monotonic()
        process.send_signal(sent)
        _, errors = process.communicate(timeout=SECONDS)
        return process.returncode, errors.splitlines(), time.monotonic() - start
    finally:
        process.kill()
        process.wait()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def in_midst_of(work: str, name: str) -> str:
    arguments, place = COMMANDS[name]
    patch = f"import sam_mlx.export\n{place} = {work}\n"
    end = f"sys.argv[1:] = {arguments!r}\nfrom sam_mlx.cli import main\nsys.exit(main())\n"
    return PROGRAM + patch + end


def test_what_the_end_waits_for_is_short():
    assert ending.END_SECONDS <= 1.5  # with the interpreter's own end: two seconds


@pytest.mark.slow
@pytest.mark.parametrize("sent", ending.SIGNALS, ids=lambda s: s.name)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_signal_ends_every_command(name, sent, tmp_path):
    """Nothing is left, for no picture is done; only auto says that it can be continued."""
    code, errors, _ = run(in_midst_of("compute", name), tmp_path, sent)
    assert code == 128 + sent
    assert errors == (["stopped; the same command continues"] if name == "auto" else [])
    left = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")]
    assert left == []


@pytest.mark.parametrize("sent", ending.SIGNALS, ids=lambda s: s.name)
def test_a_signal_ends_what_does_not_listen(sent, tmp_path):
    code, errors, _ = run(in_midst_of("deaf", "info"), tmp_path, sent)
    assert (code, errors) == (128 + sent, [])


@pytest.mark.slow
@pytest.mark.parametrize("sent", ending.SIGNALS, ids=lambda s: s.name)
@pytest.mark.parametrize("busy", ["the model", "a file"])
def test_a_signal_ends_the_server_in_the_midst_of_work(busy, sent, tmp_path, monkeypatch):
    pytest.importorskip("uvicorn")
    pytest.importorskip("starlette")
    place = {"the model": "Model.encode = compute", "a file": "Content.shown = idle"}[busy]
    ask = {"the model": "encode", "a file": "image"}[busy]
    program = f"""
import contextlib, json, os, urllib.error, urllib.request
from sam_mlx.web.model import Model
from sam_mlx.web.store import Content
from sam_mlx.commands import web
{place}

def ask(address, data=None):
    page, _, token = address.partition("?token=")
    request = urllib.request.Request(page, data, {{"Authorization": f"Bearer {{token}}"}})
    with urllib.request.urlopen(request) as answer:
        return answer.read()

def listening(line, *_, **__):
    if line.startswith("http"):
        threading.Thread(target=use, args=line.split("/?token="), daemon=True).start()

def use(address, token):
    while True:
        try:
            session = json.loads(ask(f"{{address}}/api/sessions?token={{token}}", b""))["session"]
            break
        except urllib.error.HTTPError as error:
            print(error, error.read(), file=sys.stderr, flush=True)
            os._exit(9)
        except OSError:  # it does not listen yet
            time.sleep(0.05)
    picture = f"{{address}}/api/sessions/{{session}}/pictures/p1"
    with contextlib.suppress(Exception):  # the server ends before it answers
        ask(f"{{picture}}/{ask}?token={{token}}", {b"" if ask == "encode" else None})

web.say = listening
"""
    arguments, _ = COMMANDS["web"]
    end = f"sys.argv[1:] = {arguments!r}\nfrom sam_mlx.cli import main\nsys.exit(main())\n"
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    code, errors, _ = run(PROGRAM + program + end, tmp_path, sent)
    assert code == 128 + sent
    said = "\n".join(errors)
    assert "Traceback" not in said and "terminate called" not in said, said
    assert not list(temporary.glob("sam_mlx-web-*"))


def test_signals_of_other_programs_are_left_alone(tmp_path):
    """Who calls ``main`` with arguments has signals of their own."""
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    from sam_mlx.cli import main

    assert main(["info", str(tmp_path / "none")]) == 2
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_what_a_shell_ignores_stays_ignored(tmp_path):
    program = in_midst_of("lambda *_, **__: (begun(), time.sleep(1.5), sys.exit(5))", "info")
    program = program.replace("signal.default_int_handler)", "signal.SIG_IGN)")
    assert run(program, tmp_path, signal.SIGINT)[0] == 5


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "openpty"), reason="no terminals here")
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full 2>/dev/full"])
def test_closed_streams_change_nothing_of_the_work(closed, tmp_path):
    if "full" in closed and not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    work = f"auto {COINS} --points-per-side 2 --format masks coco -o"
    made = []
    for folder, streams in (("usual", ""), ("closed", closed)):
        command = f"exec {sys.executable} -m sam_mlx {work} {folder} {streams}"
        done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        shutil.rmtree(tmp_path / folder / ".pictures")  # which say when
        made.append(contents(tmp_path / folder))
    assert made[0] == made[1] and len(made[0]) > 2


def test_a_terminal_that_goes_away_changes_nothing_of_the_work(tmp_path):
    """Its progress bars cannot be drawn then."""
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "sam_mlx", "auto", COINS, "-o", "out", "--format", "coco",
               "--points-per-side", "8"]  # fmt: skip
    process = subprocess.Popen(
        command, cwd=tmp_path, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    assert os.read(ours, 1)  # the first bar
    drain = threading.Timer(0.2, os.close, [ours])
    drain.start()
    assert process.wait(300) == 0
    assert (tmp_path / "out" / "annotations.json").exists()
