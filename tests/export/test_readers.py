"""Files for an app are written by the MLX that the app contains."""

import re
from importlib.metadata import version

import pytest

from sam_mlx.export import export, readers
from tests.support.source import ROOT

CURRENT = readers.READERS["swift"][-1]


def test_another_mlx_is_refused_before_any_work(monkeypatch, tmp_path):
    monkeypatch.setattr(readers, "version", lambda package: "0.99.0")
    with pytest.raises(RuntimeError, match=re.escape(f"pip install 'mlx=={CURRENT.mlx}'")):
        export("no/such-model", tmp_path / "out", reader="swift")
    with pytest.raises(ValueError, match="reader is 'kotlin'; expected one of swift"):
        export("no/such-model", tmp_path / "out", reader="kotlin")
    assert list(tmp_path.iterdir()) == []


def test_the_readers_mlx_is_accepted(monkeypatch, tmp_path):
    monkeypatch.setattr(readers, "version", lambda package: CURRENT.mlx)
    with pytest.raises(FileNotFoundError, match="nowhere"):  # so it got as far as loading the model
        export(tmp_path / "nowhere", tmp_path / "out", reader="swift")


def test_the_installed_mlx_is_compared():
    if version("mlx") != CURRENT.mlx:
        with pytest.raises(RuntimeError, match=version("mlx")):
            readers.check_reader("swift")


def test_the_documents_and_the_package_name_the_same():
    page = (ROOT / "examples/swift/README.md").read_text()
    for release in readers.READERS["swift"]:
        assert f"| {release.name} | {release.mlx} |" in page
    source = (ROOT / "examples/swift/Sources/SegmentAnything/Segmenter.swift").read_text()
    assert f'mlxVersion = "{CURRENT.mlx}"' in source
    manifest = (ROOT / "Package.swift").read_text()
    assert f'exact: "{CURRENT.name.split()[-1]}"' in manifest
    assert f'"mlx>={CURRENT.mlx}"' in (ROOT / "pyproject.toml").read_text()
