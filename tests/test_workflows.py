"""What the workflows run is there; GitHub alone runs them."""

import re
from importlib.util import find_spec

import pytest

from sam_mlx.machine.precision import device_kind
from tests.support import probe
from tests.support.source import ROOT

TEXT = "\n".join(path.read_text() for path in (ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("module", sorted(set(re.findall(r"python -m ([\w.]+)", TEXT))))
def test_modules_that_workflows_run(module):
    assert find_spec(module) is not None


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"[\w./-]+/[\w-]+\.(?:py|txt)\b|\.ci/run", TEXT)))
)
def test_files_that_workflows_name(path):
    assert (ROOT / path).is_file()


def test_the_oldest_mlx_is_the_one_that_the_package_allows():
    (oldest,) = re.findall(r'"mlx>=([\d.]+)"', (ROOT / "pyproject.toml").read_text())
    assert f'mlx: ["{oldest}", newest]' in TEXT
    assert f'"mlx[cpu]=={oldest}"' in (ROOT / ".ci" / "run").read_text()


def test_what_a_gpu_lacks_is_named(capsys, monkeypatch):
    """The first that fails; each in a process of its own, which may abort."""
    monkeypatch.setattr(probe, "PROBES", {"one": "pass", "two": "import os; os.abort()"})
    probe.main()
    monkeypatch.setattr(probe, "PROBES", {"one": "pass"})
    probe.main()
    assert capsys.readouterr().out == "missing=two\nmissing=\n"


@pytest.mark.skipif(device_kind() != "cpu", reason="there is a GPU")
def test_a_machine_without_a_gpu(capsys):
    probe.main()
    assert capsys.readouterr().out == "missing=a GPU\n"
