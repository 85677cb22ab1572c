"""Files and folders that appear whole: names, permissions, what errors leave, locks."""

import errno
import json
import math
import os
import shutil
import socket
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from safetensors.numpy import save_file

from sam_mlx import ImageEmbedding, MaskPredictions, Sam
from sam_mlx.checkpoints.locate import resolve
from sam_mlx.files import (
    MAX_JSON,
    check_file,
    packaged,
    read_file,
    read_json,
    temporary_folder,
    to_json,
    whole_folder,
    write_json,
    write_whole,
)
from sam_mlx.locks import held


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=[0o022, 0o077, 0o002])
def usual(request, tmp_path):
    """The permissions that open() and mkdir() give under a umask."""
    before = os.umask(request.param)
    (tmp_path / "plain").write_text("")
    (tmp_path / "folder").mkdir()
    yield mode(tmp_path / "plain"), mode(tmp_path / "folder")
    os.umask(before)


def test_files_get_the_permissions_that_open_gives(usual, tmp_path):
    path = tmp_path / "a.safetensors"
    write_whole(path, lambda name: save_file({"a": np.zeros(2)}, name))
    assert mode(path) == usual[0]
    path.chmod(0o640)
    write_whole(path, lambda name: save_file({"a": np.zeros(2)}, name))
    assert mode(path) == 0o640


def test_folders_get_the_permissions_that_mkdir_gives(usual, tmp_path):
    with whole_folder(tmp_path / "new") as folder:
        save_file({"a": np.zeros(2)}, folder / "a.safetensors")
        (folder / "deep").mkdir()
    assert mode(tmp_path / "new" / "a.safetensors") == usual[0]
    assert mode(tmp_path / "new") == mode(tmp_path / "new" / "deep") == usual[1]


@pytest.mark.parametrize("name", ["n" * 251 + ".npy", "n" * 255, "é" * 125 + ".npy", ".hidden"])
def test_a_name_that_fits_is_written(tmp_path, name):
    def write(temporary: str) -> None:
        with open(temporary, "wb") as file:
            np.save(file, np.arange(3))

    write_whole(tmp_path / name, write)
    with whole_folder(tmp_path / "new" / name):
        pass
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([name, "new"])
    assert (np.load(tmp_path / name) == np.arange(3)).all()


def test_errors_leave_nothing(tmp_path):
    """Whatever the writer wrote, and wherever it stopped."""

    def write(name: str) -> None:
        np.save(f"{name}-more", np.arange(3))
        Path(name).write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "a.png", write)
    with pytest.raises(FileNotFoundError):  # numpy adds .npy to the name
        write_whole(tmp_path / "a", lambda name: np.save(name, np.arange(3)))
    with pytest.raises(OSError, match="too long"):
        write_whole(tmp_path / ("n" * 256), lambda name: Path(name).write_text("whole"))
    with pytest.raises(KeyboardInterrupt), whole_folder(tmp_path / "b" / "c" / "d") as folder:
        write(str(folder / "x"))
    with pytest.raises(OSError, match="too long"), whole_folder(tmp_path / "b" / ("n" * 256)):
        pass
    assert list(tmp_path.iterdir()) == []


HOLD = """
import sys
from pathlib import Path
from sam_mlx.locks import held
with held(Path(sys.argv[1])) as mine:
    print(mine, flush=True)
    sys.stdin.readline()
"""


def test_a_lock_is_held_by_one_process_and_ends_with_it(tmp_path):
    path = tmp_path / "lock"
    command = [sys.executable, "-c", HOLD, str(path)]
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with subprocess.Popen(command, **pipes) as other:
        assert other.stdout.readline() == "True\n"
        with held(path) as mine:
            assert not mine
        other.kill()
    assert path.exists()
    with held(path) as mine:
        assert mine
    assert list(tmp_path.iterdir()) == []


def test_saved_predictions_can_be_read_by_others(usual, tmp_path):
    from sam_mlx.automatic.predictions import MaskPredictions

    names = ["image_size", "model_size", "keep_iou", "crop", "points", "predicted_iou"]
    names += ["stretched"]
    arrays = {name: np.zeros(2) for name in names}
    crops = {"crop_boxes": np.zeros((1, 4))}
    state = MaskPredictions(**arrays, **crops, logits=mx.zeros((1, 2, 2)))
    state.save(tmp_path / "state.safetensors")
    assert mode(tmp_path / "state.safetensors") == usual[0]


def test_the_next_write_removes_what_killed_writers_left(tmp_path):
    """The folder of an active writer, in this process or another, stays."""
    write = "import sys, time; from pathlib import Path; from sam_mlx.files import *\n"
    whole = f"{write}with whole_folder('model') as f: (f / 'a').touch(); print(1, flush=True);"
    single = f"{write}write_whole('x.npy', lambda n: (print(1, flush=True), time.sleep(99)))"
    for program in (f"{whole} time.sleep(99)", single):
        command = [sys.executable, "-c", program]
        writers = [subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE) for _ in "ab"]
        for writer in writers:
            writer.stdout.readline()
        writers[0].kill()
        writers[0].wait()
        assert len(list(tmp_path.glob(".partial-*"))) == 2
        with whole_folder(tmp_path / "other") as mine:
            write_whole(tmp_path / "y.txt", lambda name: Path(name).touch())
            assert len(list(tmp_path.glob(".partial-*"))) == 2 and mine.is_dir()
        writers[1].kill()
        writers[1].wait()
        write_whole(tmp_path / "y.txt", lambda name: Path(name).touch())
        assert sorted(p.name for p in tmp_path.iterdir()) == ["other", "y.txt"]
        shutil.rmtree(tmp_path / "other")


def kept(folder: Path) -> dict[str, str]:
    return {p.name: p.read_text() for p in folder.rglob("*") if p.is_file()}


def test_only_our_own_leftovers_are_removed(tmp_path):
    """A save beside users' folders deleted them."""
    names = ["backup_1", "abcdefgh", "", "0", "0123456789abcdef-0123456789abcdef", "\udcff\udcfe"]
    for i, name in enumerate(names):
        (tmp_path / f".partial-{name}").mkdir()
        (tmp_path / f".partial-{name}" / f"{i}.txt").write_text("a user's")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "more.txt").write_text("a user's")
    with temporary_folder(tmp_path) as folder:
        pass
    folder.symlink_to("elsewhere")
    before = kept(tmp_path)
    assert len(before) == len(names) + 1
    write_whole(tmp_path / "x.txt", lambda name: Path(name).touch())
    with whole_folder(tmp_path / "new"):
        pass
    assert kept(tmp_path) == {**before, "x.txt": ""} and folder.is_symlink()


def never(name: str) -> None:
    pytest.fail("the work was done before the name was refused")


@pytest.mark.parametrize("name", ["pipe", "folder", "socket", "loop", "to_pipe", "/dev/null"])
def test_nothing_but_files_is_replaced(tmp_path, name):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "to_pipe").symlink_to("pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
    path = tmp_path / name
    before = os.lstat(path)
    with pytest.raises(OSError, match=r"cannot write .*: it is a |symbolic links"):
        write_whole(path, never)
    after = os.lstat(path)
    assert os.path.samestat(before, after) and before.st_mode == after.st_mode


def test_a_link_stays_and_what_it_points_at_is_written(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "here").mkdir()
    (tmp_path / "disk" / "old.txt").write_text("old")
    (tmp_path / "disk" / "old.txt").chmod(0o640)
    for name in ("old", "new"):  # the second leads nowhere yet
        link = tmp_path / "here" / f"{name}.txt"
        link.symlink_to(f"../disk/{name}.txt")
        write_whole(link, lambda name: Path(name).write_text("whole"))
        assert link.is_symlink() and link.read_text() == "whole"
    assert kept(tmp_path / "disk") == {"old.txt": "whole", "new.txt": "whole"}
    assert mode(tmp_path / "disk" / "old.txt") == 0o640
    assert len(list((tmp_path / "here").iterdir())) == 2
    with pytest.raises(FileExistsError), whole_folder(link):
        never("folder")
    (tmp_path / "nowhere").symlink_to("gone")
    with pytest.raises(FileExistsError), whole_folder(tmp_path / "nowhere"):
        never("folder")


def test_a_workspace_on_another_disk_is_not_used(tmp_path):
    """A result's folder may be a link to another disk, to which nothing can be renamed."""
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no other disk here")
    with temporary_folder(other) as workspace:
        write_whole(tmp_path / "x.txt", lambda name: Path(name).write_text("whole"), workspace)
        assert kept(tmp_path) == {"x.txt": "whole"}


@pytest.mark.parametrize("kind", ["link", "dangling", "pipe", "folder", "content", "loop"])
def test_a_lock_is_neither_followed_nor_taken_for_ours(tmp_path, kind):
    path = tmp_path / "lock"
    (tmp_path / "file.txt").write_text("a user's")
    match kind:
        case "link":
            path.symlink_to("file.txt")
        case "dangling":
            path.symlink_to("gone.txt")
        case "loop":
            path.symlink_to("lock")
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "content":
            path.write_text("a user's")
    before = os.lstat(path)
    with pytest.raises(OSError, match="lock is not a lock of sam_mlx's own; delete it"), held(path):
        pytest.fail("it was taken")
    assert os.path.samestat(before, os.lstat(path))
    assert (tmp_path / "file.txt").read_text() == "a user's" and not (
        tmp_path / "gone.txt"
    ).exists()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EBADF, errno.ENOTSUP, errno.ENOSYS])
def test_disks_without_locks(number, tmp_path, monkeypatch):
    """As NFS is mounted on many clusters."""

    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    write_whole(tmp_path / "x.txt", lambda name: Path(name).write_text("whole"))
    with held(tmp_path / "lock") as mine, whole_folder(tmp_path / "new"):
        assert mine
    assert sorted(p.name for p in tmp_path.iterdir()) == ["new", "x.txt"]


def test_two_threads_may_write_one_name(tmp_path):
    def write(text: str) -> None:
        for _ in range(50):
            write_whole(tmp_path / "x", lambda name: Path(name).write_text(text))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, "abcd"))
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


FULL = """
import resource, signal, sys
import numpy as np
from sam_mlx import Sam, SamAutomaticMaskGenerator, SamPredictor
from sam_mlx.export import export

model = Sam.from_pretrained("nano")
coins = "examples/images/coins.png"
predictor = SamPredictor(model)
predictor.set_image(np.zeros((50, 60, 3), np.uint8))
found = SamAutomaticMaskGenerator(model, points_per_side=4).predict(coins)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
for write in (
    model.save_pretrained, predictor.get_image_embedding().save, found.save,
    lambda name: export(model, name),
):
    try:
        write(sys.argv[1] + "/new.safetensors")
    except OSError as error:
        assert "partial" not in str(error), error
    else:
        raise AssertionError(write)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no file size limits")
def test_a_full_disk(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []


def strictly(text):
    """As other languages read it."""
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


@pytest.mark.parametrize("indent", [None, 2])
def test_json_has_numbers_alone(indent, tmp_path):
    values = {"a": [1.5, math.nan, (math.inf, "NaN")], "b": {"c": -math.inf, "d": None}, "e": True}
    write_json(tmp_path / "x.json", values, indent)
    text = (tmp_path / "x.json").read_text()
    assert text.endswith("\n") == (indent is not None)
    found = strictly(text)
    assert found == {"a": [1.5, None, [None, "NaN"]], "b": {"c": None, "d": None}, "e": True}
    usual = {"a": [1.5, "é"], "b": None}
    assert to_json(usual, indent) == json.dumps(usual, indent=indent)
    assert strictly(to_json({math.nan: 1, np.inf: [np.float64("nan")]})) == {"null": [None]}
    with pytest.raises(TypeError):
        to_json({"a": object()})


def test_the_packages_own_files_are_found_as_resources(tmp_path, monkeypatch):
    """An app that PyInstaller made has them elsewhere, or not at all."""
    shutil.copytree(packaged("nano"), tmp_path / "assets" / "nano")
    monkeypatch.setattr("importlib.resources.files", lambda package: tmp_path)
    assert resolve("nano") == tmp_path / "assets" / "nano"
    with pytest.raises(FileNotFoundError, match=r"coins.png is missing.*--collect-data sam_mlx"):
        packaged("coins.png")


SPECIAL = {
    "pipe": "a pipe",
    "/dev/zero": "a device",
    "folder": "a folder",
    "large": "1,048,577 bytes",
}


@pytest.fixture(params=SPECIAL)
def special(request, tmp_path):
    """Something that must not be opened, or not read whole; with what errors call it."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "large").touch()
    os.truncate(tmp_path / "large", MAX_JSON + 1)
    return tmp_path / request.param, SPECIAL[request.param]


def test_what_is_not_a_file_of_bounded_size_is_not_opened(special):
    path, kind = special
    for read in (check_file, read_file, read_json):
        with pytest.raises(ValueError, match=rf"^{path}: it (is|has) {kind}"):
            read(path, MAX_JSON)


def test_names_in_errors_are_printable(tmp_path):
    """An exception that nobody catches is printed as it is."""
    path = tmp_path / "\x1b[31mred\n"
    path.mkdir()
    for use in (
        lambda: read_file(path, 9),
        lambda: write_whole(path, never),
        lambda: write_whole(path / "none" / "x", never),
        lambda: whole_folder(path).__enter__(),
        lambda: held(path).__enter__(),
        lambda: ImageEmbedding.load(path / "x"),
        lambda: ImageEmbedding.load(path),
        lambda: MaskPredictions.load(path),
        lambda: Sam.from_pretrained(path),
        lambda: Sam.from_pretrained(path / "x"),
        lambda: Sam.from_pretrained("nano", adapter=path),
    ):
        with pytest.raises((ValueError, OSError)) as error:
            use()
        assert str(error.value).isprintable() and "\\x1b[31mred\\n" in str(error.value)


def test_files_below_proc_have_no_size_but_a_bound(tmp_path):
    """As any file that grows after it was looked at."""
    path = Path("/proc/self/maps")
    if not path.exists():
        pytest.skip("no /proc here")
    assert path.stat().st_size == 0
    with pytest.raises(ValueError, match="/proc/self/maps: it has more than 100 bytes"):
        read_file(path, 100)


@pytest.mark.parametrize("kind", [ImageEmbedding, MaskPredictions])
def test_saved_values_are_read_from_files_alone(tmp_path, kind):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "sparse").touch()
    os.truncate(tmp_path / "sparse", 1 << 40)
    found = {"pipe": "is a pipe", "/dev/zero": "is a device", "sparse": "has 1,099,511,627,776"}
    for name, why in found.items():
        with pytest.raises(ValueError, match=f"it {why}"):
            kind.load(tmp_path / name)
