"""The examples in docstrings run, and print what they say."""

import doctest
import importlib

import pytest

from sam_mlx import ImageEmbedding, Sam
from tests.support import source

MODULES = [name for name, path in source.modules().items() if ">>> " in path.read_text()]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.attempted > 0 and result.failed == 0


@pytest.mark.parametrize("entry", [Sam.from_pretrained, ImageEmbedding])
def test_entry_points_have_an_example(entry):
    assert ">>> " in entry.__doc__
