"""The end of a process while the package computes: soon, quietly, and with its own exit code."""

import signal
import subprocess
import sys
import time

import pytest

from sam_mlx.machine import worker

# A step of work that would take minutes, and what a program begins with.
BEGIN = """
import atexit, signal, sys, threading, time
import mlx.core as mx
import numpy as np
from sam_mlx import SamAutomaticMaskGenerator, SamPredictor
from sam_mlx.machine.worker import at_work, long_work

# As in a terminal: a shell starts what runs in the background with the signal ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
begun = threading.Event()

@long_work
def long():
    begun.set()
    x = mx.random.normal((2000, 2000))
    for _ in range(20000):
        x = x @ x * 1e-3
    mx.eval(x)

def daemon(task):
    threading.Thread(target=task, daemon=True).start()

def say(what):
    print(what, flush=True)

black = np.zeros((50, 60, 3), np.uint8)
"""
SECONDS = 20  # far less than the work, far more than the end takes on a busy machine


def run(
    program: str, sent: int | None = None, begin: str = BEGIN, seconds: float = SECONDS
) -> tuple[int, str, str]:
    """Exit code, output and errors of a program, which ends soon after it says "ending".

    sent: a signal, sent at that moment. seconds: how soon.
    """
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", begin + program]
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)
    try:
        lines = iter(process.stdout.readline, "")
        said = []
        for line in lines:
            said.append(line.strip())
            if said[-1] == "ending":
                break
        start = time.monotonic()
        if sent is not None:
            process.send_signal(sent)
        rest, errors = process.communicate(timeout=seconds)
        assert "ending" in said, errors
        assert time.monotonic() - start < seconds
        assert "terminate called" not in errors
        return process.returncode, "\n".join([*said, *rest.split("\n")]), errors
    finally:
        process.kill()
        process.wait()


def test_what_the_end_waits_for_is_short():
    assert worker.END_SECONDS <= 1.5  # with the interpreter's own end: two seconds


@pytest.mark.parametrize(("leave", "code"), [("pass", 0), ("sys.exit(7)", 7), ("1 / 0", 1)])
def test_running_work_is_left(leave, code):
    program = f"daemon(long); begun.wait(); say('ending'); {leave}"
    assert run(program)[0] == code


@pytest.mark.slow
def test_work_that_ends_during_the_exit_of_the_process():
    """Where a thread comes back from MLX to an interpreter that is gone, C++ ends the process."""
    program = """
@at_work
def short():
    for _ in range(20):
        x = mx.random.normal((300, 300))
        mx.eval(x @ x)

def forever():
    while True:
        short()

daemon(forever)
daemon(forever)
time.sleep(0.5)
say("ending")
"""
    for _ in range(5):
        assert run(program) == (0, "ending\n", "")


def test_queued_work_of_daemon_threads_is_dropped():
    program = """
daemon(long)
begun.wait()
for _ in range(50):
    daemon(long)
say("ending")
"""
    assert run(program) == (0, "ending\n", "")


@pytest.mark.slow
def test_daemon_threads_that_predict_end_quietly():
    program = """
predictor = SamPredictor.from_pretrained("nano")
predictor.set_image(black)

def predict():
    while True:
        predictor.predict([[5, 5]], [1])
        begun.set()

for _ in range(4):
    daemon(predict)
begun.wait()
say("ending")
"""
    for _ in range(3):
        assert run(program) == (0, "ending\n", "")


@pytest.mark.slow
@pytest.mark.parametrize("progress", ["time.sleep(1000)", "begun.wait(); hang()"])
def test_whatever_a_progress_function_does(progress):
    program = f"""
generator = SamAutomaticMaskGenerator.from_pretrained("nano", points_per_side=8)
asked = threading.Event()

def hang():
    while True:
        pass

def wait(done, total):
    asked.set()
    begun.set()
    {progress}

daemon(lambda: generator.generate(black, progress=wait))
asked.wait()
say("ending")
"""
    assert run(program)[0] == 0


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
@pytest.mark.parametrize("where", ["long()", "daemon(long); time.sleep(1000)"])
@pytest.mark.parametrize("sent", ["SIGINT", "SIGTERM"])
def test_a_signal_ends_the_process_in_the_midst_of_work(where, sent):
    number = getattr(signal, sent)
    program = f"""
def tell():
    begun.wait()
    time.sleep(0.3)
    say("ending")

daemon(tell)
{where}
"""
    code, _, errors = run(program, number)
    assert code == -number
    assert ("KeyboardInterrupt" in errors) == (sent == "SIGINT")


LOAD = """
def load():
    predictor = SamPredictor.from_pretrained("nano")
    predictor.set_image(black)
    say(predictor.predict([[5, 5]], [1])[0].shape)
"""


@pytest.mark.slow
@pytest.mark.parametrize("first", ["pass", "load()"])
@pytest.mark.parametrize("before", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_functions_of_atexit_may_load_and_predict(before, first):
    """Also those that were registered before the package was imported, which run after it ended."""
    early = "import atexit\natexit.register(lambda: load())\n" if before else ""
    late = "" if before else "atexit.register(load)\n"
    program = early + BEGIN + LOAD + late + first + "\nsay('ending')"
    code, said, errors = run(program, begin="", seconds=300)  # for loading, on a busy machine
    assert (code, errors) == (0, "") and said.splitlines()[-1] == "(3, 50, 60)"
