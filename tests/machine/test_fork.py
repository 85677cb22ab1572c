"""A forked child, which lacks MLX's threads, is told so instead of waiting for them for ever."""

import multiprocessing
import subprocess
import sys
from functools import partial

import pytest

from tests.support import public

SECONDS = 300  # that a test waits for what must come
TOLD = "get_context('spawn')"

pytestmark = [
    pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork"),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]


def do_all(results, calls: public.Calls) -> None:
    for name, call in calls.items():
        results.put(("begins", name))
        results.put((outcome(call), name))
    results.put(("ends", ""))


def outcome(call) -> str:
    try:
        call()
    except Exception as error:
        return "is told" if TOLD in str(error) else repr(error)
    return "returns"


def in_child(calls: public.Calls) -> dict[str, str]:
    """What each call does in a forked child; the one that does not end "begins"."""
    fork = multiprocessing.get_context("fork")
    results = fork.Queue()
    child = fork.Process(target=partial(do_all, results, calls), daemon=True)
    child.start()
    found: dict[str, str] = {}
    try:
        while (event := results.get(timeout=SECONDS))[0] != "ends":
            found[event[1]] = event[0]
    except Exception:
        return found  # without its end
    finally:
        child.kill()
        child.join()
    return found


def test_a_forked_child_is_told_in_every_call(tmp_path):
    found = in_child(public.calls(public.World(tmp_path)))
    assert {name: what for name, what in found.items() if what != "is told"} == {}


@pytest.mark.slow
def test_a_forked_child_is_told_in_every_call_of_compat(tmp_path):
    pytest.importorskip("torch")
    found = in_child(public.compat_calls(public.World(tmp_path)))
    rest = {name: what for name, what in found.items() if what != "is told"}
    assert rest == dict.fromkeys(public.COMPAT_WITHOUT_MLX, "returns")


# A parent that used MLX by itself, or made arrays alone, or nothing at all.
PARENT = """
import os, sys, warnings
import numpy as np
import mlx.core as mx
import sam_mlx
from sam_mlx import masks, SamPredictor, transforms

warnings.simplefilter("ignore")
x = mx.array(np.ones((2, 8, 8), bool))
{used}
calls = [
    lambda: SamPredictor.from_pretrained("nano").set_image(np.zeros((9, 9, 3), np.uint8)),
    lambda: masks.mask_boxes(x),
    lambda: masks.stability_scores(x),
]
for call in calls:
    if os.fork() == 0:
        try:
            call()
            print("computes", flush=True)
        except RuntimeError as error:
            print("is told" if "get_context('spawn')" in str(error) else error, flush=True)
        os._exit(0)
    os.wait()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("used", "what"),
    [
        ("", "computes"),
        ("mx.eval(x + 1)", "is told"),
        ("mx.eval(x + 1); mx.reset_peak_memory()", "is told"),
        ("mx.default_stream(mx.cpu)", "is told"),
        ("import threading; t = threading.Thread(target=lambda: mx.eval(x + 1)); t.start()"
         "; t.join()", "is told"),
        ("masks.mask_boxes(x)", "is told"),
    ],
)  # fmt: skip
def test_what_the_parent_did_with_mlx(used, what):
    done = subprocess.run(
        [sys.executable, "-c", PARENT.format(used=used)],
        capture_output=True, text=True, timeout=SECONDS,
    )  # fmt: skip
    assert done.stdout.splitlines() == [what] * 3, done.stderr


def test_a_childs_own_child(tmp_path):
    """A child of a parent that computed nothing computes, and its own child is told."""
    program = """
import os
import mlx.core as mx
from sam_mlx import masks
for _ in range(2):
    if os.fork():
        os.wait()
        os._exit(0)
    try:
        masks.mask_boxes(mx.ones((1, 3, 3), mx.bool_))
        print("computes", flush=True)
    except RuntimeError:
        print("is told", flush=True)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=SECONDS
    )
    assert done.stdout.splitlines() == ["computes", "is told"], done.stderr
