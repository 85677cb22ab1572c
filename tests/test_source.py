"""Rules of the source that CONTRIBUTING.md states: layers, lengths, declared packages, commands."""

import re
import statistics
import subprocess
import sys
from graphlib import TopologicalSorter
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import sam_mlx
from tests.support import source

ROOT = source.ROOT
README = (ROOT / "README.md").read_text()
PROJECT = (ROOT / "pyproject.toml").read_text()

# A module imports only from its own layer and from those above it.
LAYERS = [
    {"arrays", "ending", "machine", "messages", "options", "terminal"},
    {"config", "files", "locks", "registry", "session_files", "tensor_files"},
    {"modeling"},
    {"checkpoints"},
    {"sam"},
    {
        "camera_raw",
        "full_size",
        "image_files",
        "images",
        "masks",
        "overlay",
        "samples",
        "strips",
        "transforms",
    },
    {"embedding", "large", "mask_inputs", "prompts"},
    {"decoding", "predictor"},
    {"automatic", "tiled"},
    {"instances"},
    {"formats"},
    {"batch"},
    {"export"},
    {"tuner"},
    {"web"},
    {"interop"},
    {"serve"},
    {"commands", "compat", "cvat", "osam"},
    {"cli"},
    {"__main__", "__pyinstaller"},
]


@pytest.fixture(scope="module")
def graph() -> dict[str, set[str]]:
    """Every module of the package but its root, with those it imports."""
    known = {name: path for name, path in source.modules().items() if "." in name}
    return {name: source.imports(name, path, known) for name, path in known.items()}


def layer(module: str) -> int:
    (found,) = (i for i, names in enumerate(LAYERS) if module.split(".")[1] in names)
    return found


def test_every_module_imports_only_from_layers_above(graph):
    wrong = [(a, b) for a, imported in graph.items() for b in imported if layer(b) > layer(a)]
    assert wrong == []
    assert any(layer(b) < layer(a) for a, imported in graph.items() for b in imported)


def test_protocols_of_label_tools_do_not_know_each_other(graph):
    tools = ("api", "label_studio", "qupath", "x_anylabeling")
    for tool in tools:
        others = tuple(f"sam_mlx.serve.{other}" for other in tools if other != tool)
        mine = [m for m in graph if m.startswith(f"sam_mlx.serve.{tool}")]
        assert mine and not [b for a in mine for b in graph[a] if b.startswith(others)], tool


def test_no_import_goes_in_a_circle(graph):
    # A package's __init__ is run by whoever imports one of its modules: not an edge of its own.
    order = list(TopologicalSorter(graph).static_order())
    assert order.index("sam_mlx.modeling.ops") < order.index("sam_mlx.sam")


def test_layers_are_those_of_contributing():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    listed = re.findall(r"^\d+\. (.+?) - ", text, re.M)
    names = [{part.strip("`/").removesuffix(".py") for part in row.split(", ")} for row in listed]
    assert names == LAYERS


def test_equations_know_of_no_device():
    """Neither streams nor processors nor budgets of memory, beyond a blank spot in ops."""
    folder = ROOT / "sam_mlx" / "modeling"
    for path in folder.glob("*.py"):
        if not path.name.startswith("ops"):
            assert not re.search(r"x86|stream|_BYTES|default_device", path.read_text()), path


# What asks for the device or the platform: it decides in the first, and tells users in the rest.
ASKS_FOR_THE_DEVICE = {
    "machine/budget.py", "machine/linux.py", "machine/mac.py", "machine/precision.py",
    "machine/streams.py", "modeling/ops.py", "export/check.py", "web/model.py",
    "commands/doctor.py",
}  # fmt: skip


def test_what_depends_on_the_device_is_decided_in_few_files():
    question = r"\bon_cpu\(|\bdefault_device\(|platform\.(machine|system)|sys\.platform|os\.uname"
    asks = {
        path.relative_to(ROOT / "sam_mlx").as_posix()
        for path in (ROOT / "sam_mlx").rglob("*.py")
        if re.search(question + r"|\bis_available\(", path.read_text())
    }
    assert asks == ASKS_FOR_THE_DEVICE


SUFFIXES = {".py", ".js", ".css", ".html", ".md", ".swift", ".cpp"}


def written(*folders: str) -> dict[Path, str]:
    """The text of every file of the project below these folders, and of the package."""
    found = (path for folder in ("sam_mlx", *folders) for path in (ROOT / folder).rglob("*"))
    return {path: path.read_text() for path in found if path.suffix in SUFFIXES}


def test_files_are_short():
    lengths = [(text.count("\n"), str(path)) for path, text in written().items()]
    assert max(lengths)[0] <= 350, max(lengths)


def test_bounds_are_called_max_and_min():
    constant = re.compile(r"^(?:export )?(?:const )?\w*(?:MOST|LEAST|FEW)\w*(?: *:.*)? *=", re.M)
    texts = written("convert", "examples", "tests")
    assert {path: found for path, text in texts.items() if (found := constant.findall(text))} == {}


def test_the_package_links_to_nothing_outside():
    assert [path for path in (ROOT / "sam_mlx").rglob("*") if path.is_symlink()] == []


# Files of others that are named: the originals', and a reader's own.
FOREIGN = re.compile(
    r"(segment_anything|segment_anything_hq|mobile_sam|micro_sam)/|MedSAM_Inference\.py|CVPR24_LiteMedSAM_infer\.py|scripts/amg\.py|(app|client|script|setup|tool)\.py"
)


def test_files_that_are_named_exist():
    """In documents, and in the package's docstrings and comments."""
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    texts = written("examples") | {path: path.read_text() for path in documents}
    there = [
        f"/{path.relative_to(ROOT).as_posix()}"
        for folder in ("sam_mlx", "convert", "tests", "examples", "docs", ".")
        for path in (ROOT / folder).glob("*.*" if folder == "." else "**/*.*")
    ]
    missing = [
        (path.relative_to(ROOT).as_posix(), name)
        for path, text in texts.items()
        for name in re.findall(r"(?<!\w)\w[\w/]*\.(?:py|js|css|swift)\b", source.plain(text))
        if not FOREIGN.match(name) and not any(file.endswith(f"/{name}") for file in there)
    ]
    assert missing == []


def test_links_lead_somewhere():
    broken = [
        (path.relative_to(ROOT).as_posix(), link)
        for folder in (".", "docs", "examples")
        for path in (ROOT / folder).rglob("*.md" if folder != "." else "[A-Z]*.md")
        for link in re.findall(
            r"\]\((?!https?:|#)([^)#\s]+)", source.without_code(path.read_text())
        )
        if not (path.parent / link).exists()
    ]
    assert broken == []


def test_contributing_points_at_what_is_there():
    """Names said to be in a file: `NAME` in [file.py](path/file.py)."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    said = re.findall(r"((?:`[\w.]+`(?:, | and )?)+) (?:in|of) \[[^\]]+\]\(([^)]+)\)", text)
    pairs = [
        (name, path) for names, path in said for name in re.findall(r"`(?:\w+\.)?(\w+)`", names)
    ]
    assert len(pairs) > 20
    assert [
        (name, path) for name, path in pairs if not re.search(rf"\b{name}\b", code_of(ROOT / path))
    ] == []


def code_of(path: Path) -> str:
    files = path.rglob("*.py") if path.is_dir() else [path]
    return "\n".join(file.read_text() for file in files)


def test_lengths_of_functions():
    lengths = [row for path in source.modules().values() for row in source.function_lengths(path)]
    lines = [row[0] for row in lengths]
    assert statistics.median(lines) <= 7
    assert statistics.quantiles(lines, n=10)[-1] <= 20
    assert max(lines) <= 45, max(lengths)


def declared(section: str) -> set[str]:
    """The packages that a list of pyproject.toml names."""
    block = re.search(rf"^{section} = \[(.*?)\]$", PROJECT, re.M | re.S)[1]
    block = re.sub(r"#.*", "", block).replace("[cpu]", "")
    return {normal(re.match(r"[\w-]+", name)[0]) for name in re.findall(r'"([^"]+)"', block)}


def normal(name: str) -> str:
    return name.lower().replace("_", "-")


OURS = {"sam_mlx", "convert", "tests", "examples"}
STAND_INS = {"cv2", "torchvision"}  # used where they are installed, replaced where not
TYPES_ONLY = {"_typeshed"}
HOSTS = {"PyInstaller"}  # programs that run a file of ours


@pytest.mark.parametrize(
    ("folder", "sections"),
    [
        (
            "sam_mlx",
            [
                "dependencies",
                "regions",
                "heic",
                "web",
                "compat",
                "geo",
                "microscopy",
                "slides",
                "finetune",
                "cvat",
                "labelme",
            ],
        ),
        ("convert", ["dependencies", "convert"]),
        ("tests", ["dependencies", "test", "test-light"]),
        ("examples", ["dependencies", "test", "test-light"]),
    ],
)
def test_every_imported_package_is_declared(folder, sections):
    files = list((ROOT / folder).rglob("*.py"))
    # Clients import what tests/compat/clients.txt lists; where it is missing they are skipped.
    files = [f for f in files if f.parent.name != "clients"]
    used = set().union(*(source.top_level_packages(f) for f in files))
    used -= {*sys.stdlib_module_names, *OURS, *STAND_INS, *TYPES_ONLY, *HOSTS}
    used -= {f.stem for f in (ROOT / "examples").rglob("*.py")}  # scripts beside each other
    distributions = packages_distributions()
    allowed = set().union(*(declared(section) for section in sections))
    assert {
        name for name in used if not {normal(d) for d in distributions.get(name, [name])} & allowed
    } == set()


def test_the_package_needs_nothing_beside_it():
    for path in source.modules().values():
        assert source.top_level_packages(path) & OURS <= {"sam_mlx"}, path
    assert not [path for path in (ROOT / "sam_mlx").rglob("*") if path.is_symlink()]


def test_examples_use_public_names_only():
    found = {
        str(path.relative_to(ROOT)): names
        for path in (ROOT / "examples").rglob("*.py")
        if (names := source.private_names(path))
    }
    assert found == {}


def test_private_names_are_found(tmp_path):
    path = tmp_path / "example.py"
    path.write_text(
        "from sam_mlx import Sam, _a, masks as m\nfrom sam_mlx._b import c\nimport sam_mlx as s\n"
        "import other\nm._d\ns.web._e\nm.rle().f\nother._g\nm.__name__\n"
    )
    assert source.private_names(path) == {"_a", "_b", "_d", "_e"}


def test_json_is_written_in_one_place():
    """Where NaN becomes null. Others make text of it that is no file."""
    users = {
        path.relative_to(ROOT / "sam_mlx").as_posix()
        for path in (ROOT / "sam_mlx").rglob("*.py")
        if "json.dump" in path.read_text()
    }
    texts = {"checkpoints/card.py", "embedding.py", "web/endpoints.py", "web/validate.py"}
    texts |= {"serve/label_studio/media.py"}
    assert users == {"files.py", *texts}


def test_readme_names_the_commands_that_ci_runs():
    first, second = re.findall(r"^```sh\n(.*?)\n```$", README, re.M | re.S)
    ci = (ROOT / ".ci" / "run").read_text()
    assert first in ci and second in ci
    assert second in (ROOT / "CONTRIBUTING.md").read_text()


def test_version_is_in_one_place():
    assert re.fullmatch(r"\d+\.\d+\.\d+", sam_mlx.__version__)
    assert 'dynamic = ["version", "readme"]' in PROJECT and "\nversion =" not in PROJECT
    assert f"## {sam_mlx.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_no_more_is_said_of_torch_than_is_true():
    users = {
        path.relative_to(ROOT).parent.as_posix()
        for folder in ("sam_mlx", "convert", "examples")
        for path in (ROOT / folder).rglob("*.py")
        if "torch" in source.top_level_packages(path)
    }
    assert users == {"sam_mlx/compat", "convert", "examples/nano", "examples/benchmarks"}
    guide = (ROOT / "CONTRIBUTING.md").read_text()
    for user in users:
        assert f"`{user}/`" in guide


LIGHT = """
import sys, pytest
code = pytest.main(["-q", "-p", "no:cacheprovider", "--ignore-glob=*_original.py", sys.argv[1]])
print("heavy:", sorted({"torch", "transformers", "skimage"} & sys.modules.keys()))
sys.exit(code)
"""


@pytest.mark.slow
def test_masks_are_tested_without_torch():
    done = subprocess.run(
        [sys.executable, "-c", LIGHT, "tests/masks"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "heavy: []"


@pytest.mark.slow
def test_the_sdist_can_run_its_tests(tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (archive,) = tmp_path.glob("*.tar.gz")
    subprocess.run(["tar", "xzf", str(archive), "-C", str(tmp_path)], check=True)
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    tests = ["tests/masks", "tests/test_source.py", "tests/test_options.py"]
    code = "import sys, pytest; sys.exit(pytest.main(sys.argv[1:]))"
    arguments = ["-q", "-p", "no:cacheprovider", "-k", "not sdist and not without_torch"]
    for run in ([*arguments, *tests], ["-q", "--collect-only"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *run],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": "", "PYTHONPATH": str(folder), "HOME": str(tmp_path)},
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    there = {path.relative_to(folder) for path in folder.rglob("*.py")}
    for ours in ("tests", "examples"):
        assert {path.relative_to(ROOT) for path in Path(ROOT, ours).rglob("*.py")} <= there
    assert (folder / "Package.swift").exists()
