"""The page's files: modules import in one direction, and ids and icons in use are there."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "sam_mlx" / "web" / "page"
MODULES = {path.name: path.read_text() for path in PAGE.glob("*.js")}
HTML = (PAGE / "index.html").read_text()
IMPORTS = {
    name: set(re.findall(r'^import .* from "\./(.+?)";$', text, re.MULTILINE))
    for name, text in MODULES.items()
}


def test_every_module_is_used_and_main_by_no_other():
    used = set().union(*IMPORTS.values())
    assert used <= set(MODULES)
    started = set(re.findall(r"/page/(.+?\.js)", HTML))
    assert set(MODULES) - used == started == {"main.js", "theme.js"}


def test_modules_import_in_one_direction():
    below = dict(IMPORTS)
    while bottom := {name for name, needs in below.items() if not needs & set(below)}:
        for name in bottom:
            del below[name]
    assert not below, f"in a circle, or above one: {sorted(below)}"


@pytest.mark.parametrize("name", sorted(MODULES))
def test_what_a_module_looks_for_is_in_the_document(name):
    ids = set(re.findall(r'\$\("([\w-]+)"\)', MODULES[name]))
    assert ids <= set(re.findall(r'\bid="([\w-]+)"', HTML))
    assert len(MODULES[name].splitlines()) <= 350


@pytest.mark.parametrize("name", sorted(MODULES))
def test_what_a_module_imports_and_offers_is_used(name):
    imports = re.findall(r"^import \{ (.+) \} from .+$", MODULES[name], re.MULTILINE)
    for used in ", ".join(imports).split(", ") if imports else []:
        assert len(re.findall(rf"(?<![\w$]){re.escape(used)}(?![\w$])", MODULES[name])) > 1, used
    others = "\n".join(text for other, text in MODULES.items() if other != name)
    for offered in re.findall(r"^export .*?(?:class|const|function\*?) (\w+)", MODULES[name], re.M):
        assert re.search(rf"\b{offered}\b", others), offered
