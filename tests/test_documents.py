"""Blocks of README and of the guides, run as they stand where nothing is downloaded.

Each document runs in a reader's folder, its blocks in order. Names of the hub's models stand for
nano here, files of models have nano's sizes, and pictures are drawn.
"""

import contextlib
import importlib.util
import re
import shlex
import shutil
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sam_mlx
from sam_mlx import Sam, cli
from sam_mlx.checkpoints.locate import resolve
from sam_mlx.formats import FORMATS
from sam_mlx.tuner.evaluation import evaluate
from tests.support.hq import hq_nano
from tests.support.instances import nano_with_decoder
from tests.support.source import ROOT, modules, without_code
from tests.support.tuner import write_data

GUIDES = sorted([*ROOT.glob("docs/*.md"), *ROOT.glob("docs/label-tools/*.md")])
DOCUMENTS = {p.name: p.read_text() for p in [ROOT / "README.md", *GUIDES]}
FOLDERS = {p.name: p.parent for p in [ROOT / "README.md", *GUIDES]}
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
LANGUAGES = {"sh", "bash", "python", "py", "json", "xml", "text", "swift"}
HUB = {
    "vit_b": "nano",
    "facebook/sam-vit-base": "nano",
    "syscv-community/sam-hq-vit-base": "sam_hq_vit_b.pth",
}
# Lines of the shell that run elsewhere, by how they begin: the file that does it, and its words.
ELSEWHERE = {
    "python3 -m venv": (".ci/run", "python3 -m venv"),
    "pip install": (".ci/run", "pip install"),
    "pytest": (".ci/run", "pytest -n 3"),
    "mlx.launch": ("tests/test_batch.py", '"mlx.launch"'),
    "sam-mlx web": ("tests/web/test_live.py", '"sam_mlx", "web"'),
    "sam-mlx serve": ("tests/commands/test_serve.py", '"serve"'),
    "sam-mlx --print-completion": ("tests/test_cli.py", '"--print-completion"'),
    "python -m sam_mlx.compat": ("tests/compat/test_install.py", '"sam_mlx.compat"'),
    "python -m sam_mlx.osam": ("tests/test_osam.py", '"sam_mlx.osam"'),
    "ML_BLOCK_LOCAL_IP": ("tests/serve/test_label_studio_server.py", "ML_BLOCK_LOCAL_IP"),
    "cvat-cli ": ("tests/test_cvat.py", "cvat_cli"),
    "python -m convert": ("tests/convert/test_convert.py", "--check"),
    "python -m examples.benchmarks": ("tests/examples/test_benchmarks.py", "examples.benchmarks"),
    "sam-mlx export vit_b SAM --for swift": (".ci/run", "sam-mlx export nano out --for swift"),
    "cmake ": ("tests/examples/test_cpp.py", '"cmake"'),
    "build/segment ": ("tests/examples/test_cpp.py", '"segment"'),
    "python -c": ("tests/examples/test_cpp.py", ".ppm"),
}
# Those that no test runs.
NOWHERE = {
    "git clone": "needs the network; what follows runs in a clone",
    "pip download": "needs the index: a package with data for a first fine-tuning",
    "unzip ": "of that package",
    "mkdir ": "of that package",
    "mv ": "of that package",
    "uv ": "needs uv, and the index",
    "uvx ": "needs uv, and the index",
    "jupyter ": "a program of the reader's",
    "pyinstaller ": "packs for minutes; docs/apps.md says what was run",
    "dist/app/app ": "what it packed",
}
# Python that cannot run here. The key begins the block.
NOT_HERE = {
    "import sys\n": "it takes arguments: the app that PyInstaller packs",
    "from setuptools import setup": "a file for py2app, which needs a Mac",
    "from sam_mlx.compat import install": "tests/compat: it changes the whole process",
    "import fiftyone as fo\n\ndataset": "its database is MongoDB; its labels: tests/interop",
    "from sam_mlx import interop\n\npolygons": "tests/interop: its records are the reader's",
    "viewer.add_labels": "napari is not among the tests' packages",
    "import nibabel": "nibabel is not among the tests' packages",
}
PLACES = {
    "IMAGE": "picture.jpg", "INPUT...": "photos", "OUT": "made", "X0 Y0 X1 Y1": "10 20 200 220",
    "X Y": "60 70", "MODEL": "nano", "DATA": "labelled",
}  # fmt: skip
GENERATOR = 'SamAutomaticMaskGenerator.from_pretrained("nano"'
SPARSER = f"{GENERATOR})", f"{GENERATOR}, points_per_side=4)"
SHORTER = "TrainingOptions()", "TrainingOptions(iters=1, objects=2, clicks=1)"
WRITTEN_BY_TORCH = "my-adapter"
FASTER = {
    "sam-mlx finetune": ["--iters", "1", "--objects", "2", "--clicks", "1"],
    "sam-mlx evaluate": ["--prompts-only"],
    "sam-mlx auto": ["--points-per-side", "4"],
}


def blocks(text: str) -> list[tuple[str, str]]:
    return FENCE.findall(text)


def lines(text: str) -> list[str]:
    """The commands of a block, without comments."""
    joined = re.sub(r"\\\n\s*", "", text)
    return [line for line in re.split(r"\n| && ", re.sub(r"\s+# .*", "", joined)) if line.strip()]


def is_elsewhere(line: str) -> bool:
    return line.startswith((*ELSEWHERE, *NOWHERE, "cd ", ".", "#"))


def runs(language: str, text: str) -> bool:
    if language in ("python", "py"):
        return not text.startswith(tuple(NOT_HERE))
    return language in ("sh", "bash") and any(not is_elsewhere(line) for line in lines(text))


RUN = [name for name, text in DOCUMENTS.items() if any(runs(*block) for block in blocks(text))]


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """Folders of models of nano's sizes, which stand for files of released models."""
    folder = tmp_path_factory.mktemp("models")
    for name in ("vit_b.pt", "vit_b_lm.pt"):
        nano_with_decoder().save_pretrained(folder / name)
    hq_nano().save_pretrained(folder / "sam_hq_vit_b.pth")
    for name in ("vit_b.pth", "sam_vit_b_01ec64.pth", "medsam_vit_b.pth", "sam_vit_b"):
        shutil.copytree(resolve("nano"), folder / name)
    return folder


@pytest.fixture
def folder(models, tmp_path, monkeypatch) -> Path:
    """The reader's folder, which is the current one."""
    for path in models.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    coins = Image.open(ROOT / "examples" / "images" / "coins.png").convert("RGB")
    for place in ("photos", "new-pictures"):
        (tmp_path / place).mkdir()
        coins.save(tmp_path / place / "coins.png")
    for name in ("truck.jpg", "photo.jpg", "picture.jpg", "chair.jpg", "ortho.tif"):
        coins.resize((1800, 1200)).save(tmp_path / name)
    for name in ("cells.png", "stack.tif", "slide.ome.tif"):
        coins.save(tmp_path / name)
    for name in ("cells", "labelled"):
        write_data(tmp_path / name, 4)
    detections(tmp_path / "detections.gpkg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sam_mlx.tuner.run.evaluate", partial(evaluate, points_per_side=4))
    return tmp_path


def detections(path: Path) -> None:
    """A vector file of one rectangle, in pixels."""
    if find_spec("pyogrio") and find_spec("shapely"):
        import pyogrio.raw
        import shapely

        shapes = np.array([shapely.to_wkb(shapely.box(200, 400, 400, 600))], object)
        kind = {"geometry_type": "Polygon", "driver": "GPKG", "crs": None}
        pyogrio.raw.write(path, shapes, [], [], **kind)


def command(line: str) -> list[str]:
    """A line of the shell as the arguments of ``sam-mlx``."""
    for name, value in {**HUB, **PLACES}.items():
        line = re.sub(rf"(?<![\w/-]){re.escape(name)}(?![\w.-])", value, line)
    more = next((flags for start, flags in FASTER.items() if line.startswith(start)), [])
    program, *arguments = shlex.split(line)
    assert program == "sam-mlx", line
    return [*arguments, *more]


def run_shell(text: str) -> None:
    for line in lines(text):
        if not is_elsewhere(line):
            arguments = command(line)
            # Commands of a document may share a folder: what they write to is named by -o or last.
            output = arguments[arguments.index("-o") + 1] if "-o" in arguments else PLACES["OUT"]
            shutil.rmtree(output, ignore_errors=True)
            assert cli.main(arguments) == 0, line


def run_python(text: str, names: dict) -> None:
    imported = re.match(r"import (\w+)", text)
    if imported and find_spec(imported[1]) is None:
        return  # of another project, which CI installs
    for name, value in HUB.items():
        text = text.replace(f'"{name}"', f'"{value}"')
    text = text.replace(*SPARSER).replace(*SHORTER)
    exec(compile(text, "block", "exec"), names)


@contextlib.contextmanager
def served(text: str):
    """The text, with the address of a server if it speaks to one."""
    usual = "http://localhost:8000"
    if f'"{usual}' not in text:
        yield text
        return
    pytest.importorskip("httpx")
    from sam_mlx.serve.backend import Backend
    from tests.support.serve import serving

    with serving(Backend({"nano": Sam.from_pretrained("nano")})) as address:
        yield text.replace(usual, address)


@pytest.mark.slow
@pytest.mark.parametrize("name", RUN)
def test_blocks_run(name, folder):
    names: dict = {}
    with served(DOCUMENTS[name]) as text:
        for language, block in blocks(text):
            if runs(language, block) and WRITTEN_BY_TORCH not in block:
                run_shell(block) if language in ("sh", "bash") else run_python(block, names)
    if name in ("README.md", "index.md"):
        files = re.findall(r"`(out/[\w.]+)`", DOCUMENTS[name])
        assert len(files) > 1 and [file for file in files if not Path(file).exists()] == []
    if name == "README.md":
        assert names["masks"].shape == (3, 1200, 1800) and names["masks"].dtype == np.bool_
        assert isinstance(names["records"], list)


@pytest.mark.slow
def test_checkpoints_that_torch_wrote(originals, folder):
    """The commands of the guide to checkpoints, on real ``.pth`` files and an adapter of peft's."""
    from tests.support.adapters import adapter_of
    from tests.support.automatic import original_of

    original = original_of(Sam.from_pretrained("nano"))
    for name in ("sam_vit_b_01ec64.pth", "medsam_vit_b.pth"):
        (folder / name).unlink()
        originals.torch.save(original.state_dict(), name)
    adapter_of(original, folder / WRITTEN_BY_TORCH)
    for name in ("checkpoints.md", "adapters.md", "medsam.md"):
        for language, block in blocks(DOCUMENTS[name]):
            if runs(language, block) and language == "bash":
                run_shell(block)


def test_blocks_are_marked_as_what_they_are():
    found = {(name, lang) for name, text in DOCUMENTS.items() for lang, _ in blocks(text)}
    assert [one for one in found if one[1] not in LANGUAGES] == []


def test_every_line_of_the_shell_runs_or_is_known():
    shell = [
        line
        for text in DOCUMENTS.values()
        for language, block in blocks(text)
        if language in ("sh", "bash")
        for line in lines(block)
    ]
    names = "predict", "auto", "export", "info", "finetune", "evaluate", "doctor"
    known = tuple(f"sam-mlx {name}" for name in names)
    rest = [line for line in shell if not line.startswith(known)]
    assert [line for line in rest if not is_elsewhere(line)] == []
    unused = [s for s in (*ELSEWHERE, *NOWHERE) if not any(line.startswith(s) for line in shell)]
    assert unused == []


@pytest.mark.parametrize("start", ELSEWHERE)
def test_lines_that_run_elsewhere_do(start):
    place, words = ELSEWHERE[start]
    assert words in (ROOT / place).read_text()


def test_swift_is_compiled_elsewhere():
    """Blocks of Swift are those of the package's README, which test_swift.py compiles."""
    readme = (ROOT / "examples" / "swift" / "README.md").read_text()
    swift = [b for text in DOCUMENTS.values() for lang, b in blocks(text) if lang == "swift"]
    assert swift and all(block in readme for block in swift)


def test_python_that_cannot_run_is_there():
    """Each exception is of a block that exists."""
    texts = [block for text in DOCUMENTS.values() for _, block in blocks(text)]
    assert all(any(text.startswith(start) for text in texts) for start in NOT_HERE)


# What pages promise


def test_the_faq_has_thirty_questions():
    numbers = re.findall(r"^### (\d+)\. .+\?$", DOCUMENTS["faq.md"], re.M)
    assert list(map(int, numbers)) == list(range(1, 31))


def test_public_names_are_in_the_reference():
    reference = "\n".join(p.read_text() for p in (ROOT / "docs" / "reference").glob("*.md"))
    names = [f"sam_mlx.{name}" for name in sam_mlx.__all__]
    modules = ["sam_mlx.masks", "sam_mlx.large", "sam_mlx.interop", "sam_mlx.transforms"]
    assert [n for n in (*names, *modules) if f"::: {n}\n" not in f"{reference}\n"] == []


def test_drawings_are_what_their_script_draws():
    spec = importlib.util.spec_from_file_location("drawings", ROOT / "docs" / "drawings.py")
    drawings = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(drawings)
    stored = {path.stem: path.read_text() for path in drawings.FOLDER.glob("*.svg")}
    assert stored == {name: draw() for name, draw in drawings.DRAWINGS.items()}
    shown = "\n".join(DOCUMENTS.values())
    assert [name for name in stored if f"(images/{name}.svg)" not in shown] == []


def test_the_table_of_formats_is_whole():
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", DOCUMENTS["formats.md"], re.M)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert set(FORMATS) <= named


def test_every_page_is_on_the_site():
    nav = (ROOT / "mkdocs.yml").read_text()
    pages = [p.relative_to(ROOT / "docs") for p in (ROOT / "docs").rglob("*.md")]
    assert [page for page in pages if f"- {page}\n" not in nav] == []


def test_variables_of_the_environment_are_listed():
    """All that the package asks for by name."""
    source = "\n".join(path.read_text() for path in modules().values())
    asked = set(re.findall(r"environ(?:\.get\(|\[)\"(\w+)\"", source))
    asked |= set(re.findall(r"\"((?:SAM_MLX|MLX|HF|LABEL_STUDIO)_[A-Z_0-9]+)\"", source))
    assert len(asked) > 6
    listed = DOCUMENTS["environment.md"]
    assert [name for name in asked - {"PYTHONPATH"} if f"`{name}" not in listed] == []


# README


def test_readme_is_short():
    assert len(DOCUMENTS["README.md"].split()) <= 1300


def test_readme_begins_with_what_ci_runs():
    """Whoever follows the first blocks marked ``sh`` installs, sees a mask, and runs the tests."""
    first, second = [text for language, text in blocks(DOCUMENTS["README.md"]) if language == "sh"]
    ci = (ROOT / ".ci" / "run").read_text()
    assert first.strip() in ci and second.strip() in ci


# Links


OURS = re.compile(r"https://[a-z.]*\.com/sam-mlx/sam-mlx/(?:(?:blob|tree)/)?main/([^#]*)")


def links(text: str) -> list[str]:
    text = without_code(text)
    return re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|srcset|href)="([^"]+)"', text)


def anchors(text: str) -> set[str]:
    """GitHub's and the site's names of headings."""
    heads = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.M)
    plain = [re.sub(r"[^\w\- ]", "", re.sub(r"\[(.*?)\]\(.*?\)", r"\1", head)) for head in heads]
    return {head.strip().lower().replace(" ", "-") for head in plain}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name):
    """Those within the repository; the guides may only link to each other, as the site has them."""
    place = FOLDERS[name]
    for link in links(DOCUMENTS[name]):
        if link.startswith(("https://", "http://", "mailto:")):
            if ours := OURS.match(link):
                assert (ROOT / ours[1]).exists(), link
            continue
        path, _, anchor = link.partition("#")
        target = (place / path).resolve() if path else place / name
        assert target.exists(), link
        assert name == "README.md" or target.is_relative_to(ROOT / "docs"), link
        if anchor:
            assert anchor in anchors(target.read_text()), link
