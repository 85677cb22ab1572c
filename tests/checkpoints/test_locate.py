"""Where a model's name leads, and what is said where the hub cannot be asked."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sam_mlx.checkpoints.locate import ALIASES, NAMES, SETTINGS, resolve
from sam_mlx.messages import one_line


class OfNobody(Exception):
    """The HTTP client's have no class in common."""


@pytest.fixture
def hub(monkeypatch):
    """A function that has the hub raise an error, and gives what is said of it."""
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)

    def said(error):
        def fail(*_, **__):
            raise error

        monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
        with pytest.raises(FileNotFoundError) as raised:
            resolve("owner/name")
        text = str(raised.value)
        assert one_line(raised.value) == text.replace("\n", " ")
        return text

    return said


ERRORS = [
    OfNobody("Request URL is missing a protocol"),
    ValueError("Unknown scheme for proxy URL URL('foo://x')"),
    UnicodeEncodeError("ascii", "ö", 0, 1, "ordinal not in range(128)"),
    ImportError("Using SOCKS proxy, but the 'socksio' package is not installed"),
    RuntimeError("the client has been closed"),
    AttributeError("x"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_whatever_the_client_raises_is_one_line(hub, error, monkeypatch):
    said = hub(error)
    assert said == f"cannot fetch owner/name from the hub: {type(error).__name__}: {error}"
    monkeypatch.setenv("https_proxy", "foo://x")
    monkeypatch.setenv("HF_ENDPOINT", "hub.local")
    assert hub(error) == f"{said}; see the settings HF_ENDPOINT, HTTPS_PROXY"


def test_why_the_hub_cannot_be_reached_is_said_without_the_token(hub):
    from huggingface_hub import errors

    error = errors.LocalEntryNotFoundError("not there")
    assert "cannot be reached; connect once" in hub(error)
    error.__cause__ = OfNobody("Illegal header value b'Bearer hf_secret\\n'")
    said = hub(error)
    assert "reached (OfNobody: Illegal header value b'Bearer ...); connect" in said
    assert "secret" not in said


def test_memory_is_not_the_hubs_matter(monkeypatch):
    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    with pytest.raises(MemoryError):
        resolve("owner/name")


@pytest.mark.parametrize("endpoint", ["hub.local", "http://[::1"])
def test_an_endpoint_that_is_no_address(endpoint, tmp_path):
    """The hub's package reads it where it is imported, and prints its error beside raising it."""
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "sam_mlx", "info", "owner/name"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("sam-mlx info: cannot fetch owner/name from the hub: ")
    assert "see the settings HF_ENDPOINT" in line


def test_files_of_subfolders_are_not_asked_for(monkeypatch, tmp_path):
    """A training's checkpoints, for instance: the hub's * stands for slashes, too."""
    from huggingface_hub.utils import filter_repo_objects

    files = [
        "config.json", "model.safetensors", "checkpoint-500/model.safetensors",
        "a/b/config.json", "onnx/pytorch_model.bin", "pytorch_model.bin", "README.md",
    ]  # fmt: skip
    taken = []

    def snapshot(repo, revision, allow_patterns, ignore_patterns):
        found = filter_repo_objects(
            files, allow_patterns=allow_patterns, ignore_patterns=ignore_patterns
        )
        taken.append(list(found))
        for name in taken[-1]:
            (tmp_path / name).touch()
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    assert resolve("owner/name") == tmp_path
    assert taken == [["config.json", "model.safetensors"]]


LEFT = {
    "nothing": ({}, "no weights are there"),
    "a config": ({"config.json": "{}"}, "no weights are there"),
    "a shard": (
        {
            "model-1.safetensors": "",
            "model.safetensors.index.json": '{"weight_map": {"a": "model-2.safetensors"}}',
        },
        "model-2.safetensors is missing",
    ),
    "a shard of a pickle": (
        {
            "pytorch_model-1.bin": "",
            "pytorch_model.bin.index.json": '{"weight_map": {"a": "pytorch_model-2.bin"}}',
        },
        "pytorch_model-2.bin is missing",
    ),
    "a link to what was not fetched": ({"model.safetensors": None}, "model.safetensors is missing"),
}


@pytest.mark.parametrize("name", LEFT)
def test_half_a_snapshot_is_told(name, monkeypatch, tmp_path):
    """The hub's package, offline, gives what an earlier download has left."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    repository = tmp_path / "models--owner--name"
    folder = repository / "snapshots" / ("a" * 40)
    folder.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("a" * 40)
    files, problem = LEFT[name]
    for file, text in files.items():
        if text is None:
            (folder / file).symlink_to("../../blobs/b")
        else:
            (folder / file).write_text(text)
    with pytest.raises(
        FileNotFoundError, match="the snapshot of owner/name in the hub's cache"
    ) as e:
        resolve("owner/name")
    assert f"is not whole: {problem}. If its download was cut off, connect and" in str(e.value)


def test_names_that_are_too_long():
    with pytest.raises(
        FileNotFoundError, match="no file or folder a{100}: File name too long"
    ) as e:
        resolve("a" * 5000)
    assert len(str(e.value)) < 200


class Info:
    """Of a file, what the hub's dry run tells."""

    def __init__(self, size, will_download):
        self.file_size, self.will_download = size, will_download


@pytest.fixture
def downloads(monkeypatch, tmp_path):
    """Stands in for the hub: notes what is asked for; nothing is there until it was downloaded."""
    from huggingface_hub import errors

    asked = []

    def get(repo, file=None, *, local_files_only=False, dry_run=False, **given):
        folder = tmp_path / repo.replace("/", "--")
        if local_files_only:
            if not folder.exists():
                raise errors.LocalEntryNotFoundError("not there")
        elif dry_run:
            sizes = [Info(375e6, True), Info(1e9, False)]
            return sizes[0] if file else sizes
        else:
            folder.mkdir(exist_ok=True)
            asked.append((repo, file, given.get("revision")))
            (folder / (file or "model.safetensors")).touch()
        return str(folder / file if file else folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", get)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", get)
    monkeypatch.chdir(tmp_path)
    return asked


@pytest.mark.parametrize("name", [*NAMES, *ALIASES])
def test_released_models_by_their_names(name, downloads, capsys):
    repo, file = NAMES[ALIASES.get(name, name)]
    path = resolve(name, "main")
    assert downloads == [(repo, file, "main")]
    assert path.name == (file or repo.replace("/", "--"))
    said = capsys.readouterr().err
    assert said.startswith("downloading ") and repo in said and ", 375 MB, to " in said
    assert resolve(name) == path
    assert capsys.readouterr() == ("", "")  # it is there


def test_a_file_of_that_name_comes_first(downloads, tmp_path):
    (tmp_path / "vit_b").mkdir()
    assert resolve("vit_b") == Path("vit_b") and downloads == []


@pytest.mark.parametrize(("name", "meant"), [("vit-b", "vit_b"), ("nanno", "nano"),
                                             ("mobilesam", "mobile_sam")])  # fmt: skip
def test_names_that_are_nearly_known(name, meant):
    with pytest.raises(
        FileNotFoundError, match=f"{name}; did you mean {meant}.; models with names"
    ):
        resolve(name)


def test_offline_is_one_error(tmp_path):
    """Not a chain of those of the hub's package, of the HTTP client and of sockets."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    code = "from sam_mlx import SamPredictor; SamPredictor.from_pretrained('vit_b')"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert done.stderr.count("Traceback") == 1 and len(done.stderr.splitlines()) < 20
    last = done.stderr.splitlines()[-1]
    assert "facebook/sam-vit-base is not in the hub's cache and the hub cannot be reached" in last
    assert "nano needs no download" in last
