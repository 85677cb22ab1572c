"""What PyInstaller is told to pack with an app. docs/apps.md says what was packed by hand."""

import re

import sam_mlx.__pyinstaller as hooks
from tests.support.source import ROOT


def test_the_entry_point_leads_to_the_hook():
    text = (ROOT / "pyproject.toml").read_text()
    ((module, name),) = re.findall(r'^hook-dirs = "([\w.]+):(\w+)"$', text, re.M)
    assert module == hooks.__name__
    (folder,) = getattr(hooks, name)()
    assert (ROOT / "sam_mlx" / "__pyinstaller" / "hook-sam_mlx.py").parent.samefile(folder)
