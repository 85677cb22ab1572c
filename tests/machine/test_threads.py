"""Whatever is public works from every thread, the first call of a process included."""

import gc
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any

import numpy as np
import pytest

from sam_mlx import SamAutomaticMaskGenerator
from tests.support import public

SECONDS = 300  # that a test waits for what must come


def in_thread(task: Callable[[], Any]) -> Any:
    """The result of a task in a thread of its own."""
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(task())
        except BaseException as error:
            results.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(SECONDS)
    (result,) = results
    if isinstance(result, BaseException):
        raise result
    return result


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> public.World:
    return public.World(tmp_path_factory.mktemp("world"))


def failures(calls: public.Calls) -> dict[str, BaseException | None]:
    """What calls raise in threads of their own."""

    def error(call: Callable[[], Any]) -> BaseException | None:
        try:
            in_thread(call)
        except Exception as error:
            return error
        return None

    errors = {name: error(call) for name, call in calls.items()}
    return {name: error for name, error in errors.items() if error is not None}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*float16 on a CPU")
def test_every_call_works_in_a_thread_of_its_own(world):
    assert failures(public.calls(world)) == {}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*float16 on a CPU")
def test_every_call_of_compat_works_in_a_thread_of_its_own(world):
    pytest.importorskip("torch")
    assert failures(public.compat_calls(world)) == {}


def test_what_another_thread_made_is_of_use_here(world):
    model = in_thread(public.calls(world)["Sam.from_pretrained"])
    predictor = in_thread(lambda: public.SamPredictor(model))
    in_thread(lambda: predictor.set_image(world.image))
    masks, scores, logits = predictor.predict([[30, 25]], [1])
    for ours, expected in zip((masks, scores, logits), world.predictor.predict([[30, 25]], [1])):
        np.testing.assert_array_equal(ours, expected)
    assert in_thread(lambda: predictor.embed(world.image)) == world.embedding


FIRST = """
import sys, threading
from pathlib import Path
import sam_mlx  # before mlx.core
from sam_mlx import SamAutomaticMaskGenerator
from tests.support import public

def first():
    try:
        world = public.World(Path(sys.argv[1]))
        results.append(world.scores)
        for name, call in public.calls(world).items():
            call()
    except BaseException as error:
        results.append(error)

results = []  # the scores, and an error
thread = threading.Thread(target=first)
thread.start()
thread.join()
print(results)
if results[1:]:
    raise results[1]

# Exported functions compute on the first stream of the process.
import mlx.core as mx
function = mx.import_function(str(next(Path(sys.argv[1]).glob("*export/encoder.mlxfn"))))
print(function(mx.zeros((1, 320, 320, 3)), mx.array([240, 320], mx.int32))[0].sum().item())
"""


@pytest.mark.slow
def test_the_first_work_of_a_process_in_another_thread(world, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FIRST, str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == str([world.scores])


class Progress:
    """Of ``generate`` or ``predict``: waits for another thread that predicts."""

    def __init__(self, world: public.World):
        self.world, self.calls = world, 0

    def __call__(self, done: int, total: int) -> None:
        self.calls += 1
        in_thread(lambda: self.world.predictor.predict([[5, 5]], [1]))
        in_thread(lambda: self.world.generator.generate(self.world.embedding))


@pytest.mark.slow
@pytest.mark.parametrize("thread", [in_thread, lambda task: task()], ids=["thread", "main"])
@pytest.mark.parametrize("name", ["generate", "predict"])
def test_a_progress_function_may_wait_for_other_threads(world, thread, name):
    progress = Progress(world)
    expected = world.generator.generate(world.image)
    found = thread(lambda: getattr(world.generator, name)(world.image, progress=progress))
    assert progress.calls == 1
    if name == "generate":
        assert str(found) == str(expected)


def test_others_get_their_turn_between_the_parts_of_long_work(world):
    generator = SamAutomaticMaskGenerator(world.model, points_per_side=6, points_per_batch=1)
    go, ended = threading.Event(), threading.Event()

    def long() -> None:
        generator.predict(world.embedding, progress=lambda done, total: go.set())
        ended.set()

    thread = threading.Thread(target=long, daemon=True)
    thread.start()
    assert go.wait(SECONDS)
    in_thread(lambda: world.predictor.predict([[5, 5]], [1]))
    assert not ended.is_set()
    thread.join(SECONDS)
    assert ended.is_set()


class Cancel:
    """Asked a few times, then set."""

    def __init__(self, after: int):
        self.left = after

    def is_set(self) -> bool:
        self.left -= 1
        return self.left < 0


@pytest.mark.parametrize("name", ["generate", "predict"])
def test_long_work_can_be_cancelled(world, name):
    generator = SamAutomaticMaskGenerator(world.model, points_per_side=4, points_per_batch=1)
    done = []
    with pytest.raises(CancelledError):
        getattr(generator, name)(
            world.image, progress=lambda n, total: done.append(n), cancel=Cancel(3)
        )
    assert len(done) <= 3
    event = threading.Event()
    assert getattr(generator, name)(world.image, cancel=event) is not None
    event.set()
    with pytest.raises(CancelledError):
        getattr(generator, name)(world.image, cancel=event)


def test_the_choice_of_masks_can_be_cancelled(world):
    """After the model's last answer, too."""
    done = []
    cancel = threading.Event()

    def progress(n: int, total: int) -> None:
        done.append(n)
        if n == total:
            cancel.set()

    with pytest.raises(CancelledError):
        world.generator.generate(world.image, progress=progress, cancel=cancel)
    assert done[-1] == 9


def test_prompts_one_after_another_can_be_cancelled(world):
    cancel = threading.Event()
    points = [[[i, i]] for i in range(40)]
    answers = world.predictor.predict_each(points, [[1]] * 40, cancel=cancel)
    first = next(answers)
    cancel.set()
    with pytest.raises(CancelledError):
        list(answers)
    np.testing.assert_array_equal(first[0], world.predictor.predict([[0, 0]], [1])[0])


def test_a_model_that_is_deleted_is_gone():
    """The worker kept the last task, and so all its weights."""

    def use() -> weakref.ref[public.Sam]:
        model = public.Sam.from_pretrained("nano")
        public.SamPredictor(model).set_image(np.zeros((20, 20, 3), np.uint8))
        return weakref.ref(model)

    gone = in_thread(use)
    gc.collect()
    assert gone() is None


USED_BEFORE = """
import sys, threading
from pathlib import Path
import sam_mlx
import mlx.core as mx
from sam_mlx.export import export

mx.eval(mx.ones(3) + 1)  # the main thread owns the first stream
folder = Path(sys.argv[1])
thread = threading.Thread(target=export, args=("nano", folder / "thread"), kwargs={"points": 1})
thread.start()
thread.join()
export("nano", folder / "main", points=1)
names = [sorted(path.name for path in (folder / name).iterdir()) for name in ("thread", "main")]
print(names[0] == names[1])
"""


@pytest.mark.slow
def test_export_in_a_thread_where_the_main_one_used_mlx_before(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", USED_BEFORE, str(tmp_path)], capture_output=True, text=True
    )
    assert (done.stdout, done.returncode) == ("True\n", 0), done.stderr
