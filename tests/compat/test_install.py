"""The ways in: ``install`` inside a process, and the launcher, which runs Python itself."""

import os
import subprocess
import sys

import pytest

from sam_mlx.compat.__main__ import check_options
from tests.support.source import ROOT

LAUNCH = ["-m", "sam_mlx.compat"]


def python(*arguments, cwd=ROOT, **variables):
    """A fresh process, away from this one's modules."""
    path = os.pathsep.join([str(ROOT), variables.pop("before", "")]).strip(os.pathsep)
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": path} | variables,
    )


def output(*arguments, **options) -> str:
    done = python(*arguments, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def test_the_package_imports_neither_torch_nor_compat():
    wrong = "[m for m in sys.modules if m.startswith('torch') or '.compat' in m]"
    code = f"import sys, sam_mlx; print({wrong})"
    assert eval(output("-c", code)) == []


ARRAYS = """
import sys, numpy as np
from segment_anything import SamAutomaticMaskGenerator, SamPredictor, sam_model_registry
from segment_anything.utils.transforms import ResizeLongestSide
from segment_anything.utils.amg import rle_to_mask, coco_encode_rle, build_point_grid
from segment_anything.modeling import Sam
sam = sam_model_registry["vit_b"](checkpoint="nano")
sam.to(device="cuda").eval()
predictor = SamPredictor(sam)
picture = np.zeros((60, 80, 3), np.uint8)
predictor.set_image(picture)
masks, scores, logits = predictor.predict(np.array([[30, 40]]), np.array([1]))
predictor.predict(box=np.array([1, 2, 30, 40]), mask_input=logits[:1])
SamAutomaticMaskGenerator(sam, points_per_side=2, output_mode="uncompressed_rle").generate(picture)
assert masks.shape == (3, 60, 80) and "torch" not in sys.modules
"""


def test_numpy_needs_no_torch():
    output(*LAUNCH, "-c", ARRAYS)
    output("-c", "from sam_mlx.compat import install; install()" + ARRAYS)


NO_TORCH = "import sys; sys.modules['torch'] = None\n"


@pytest.mark.slow
def test_where_torch_is_missing_one_line_says_so():
    code = NO_TORCH + ARRAYS[: ARRAYS.index("assert")]
    output(*LAUNCH, "-c", code)
    done = python(*LAUNCH, "-W", "ignore", "-c", code + "predictor.features")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ImportError: this call gives PyTorch's tensors: pip install torch")
    assert "During handling" not in done.stderr and "direct cause" not in done.stderr


IMPORTS = """
import segment_anything.utils.amg, segment_anything.modeling.sam
from segment_anything.utils.onnx import SamOnnxModel
from segment_anything.modeling.common import LayerNorm2d
from segment_anything import build_sam, build_sam_vit_h, build_sam_vit_l, build_sam_vit_b, utils
from segment_anything.build_sam import sam_model_registry
assert callable(segment_anything.build_sam)
assert segment_anything.utils.amg is utils.amg
assert "sam_mlx" in segment_anything.__file__, segment_anything.__file__
"""


@pytest.mark.parametrize("name", ["segment_anything", "mobile_sam"])
def test_all_modules_are_there(name):
    code = IMPORTS.replace("segment_anything", name)
    output("-c", f"from sam_mlx.compat import install; install({name!r})" + code)
    output(*LAUNCH, "-c", code + f"\nfrom {name} import build_sam_vit_t")


@pytest.mark.slow
@pytest.mark.original
def test_an_original_is_overridden(tmp_path):
    """One that is installed, imported already, or beside the client."""
    load = "from convert.reference import import_segment_anything as load; load()\n"
    output("-c", load + "from sam_mlx.compat import install; install()" + IMPORTS)
    output(*LAUNCH, "-c", IMPORTS)
    for folder in ("segment_anything", "mobile_sam"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").write_text("raise SystemExit('the original')")
    (tmp_path / "client.py").write_text(IMPORTS + IMPORTS.replace("segment_anything", "mobile_sam"))
    output(*LAUNCH, "client.py", cwd=tmp_path)


def test_names_that_are_not_there():
    code = """
import segment_anything.utils.amg as amg
try:
    amg.foo
except AttributeError as error:
    print(error)
assert not hasattr(amg, "foo")
try:
    from segment_anything import bar
except ImportError as error:
    print(error)
try:
    from segment_anything.modeling import baz
except ImportError as error:
    print(error)
from segment_anything.utils.onnx import SamOnnxModel
from segment_anything.modeling.image_encoder import Block, window_partition
for name in (SamOnnxModel, Block, window_partition):
    try:
        name(1, a=2)
    except NotImplementedError as error:
        print(error)
"""
    lines = output(*LAUNCH, "-c", code).splitlines()
    assert "utils.amg has no foo, and neither has segment_anything 1.0" in lines[0]
    # Python's own words; the path tells a client whose module it has imported.
    for line, name in zip(lines[1:], ("bar", "baz")):
        assert f"cannot import name '{name}' from 'sam_mlx.compat." in line
    assert "sam-mlx export MODEL FOLDER" in lines[3]
    assert "Block is a torch module of the original" in lines[4]
    assert "window_partition is a torch module" in lines[5]


@pytest.mark.original
def test_every_public_name_of_the_original_is_there():
    code = """
import importlib, types
from convert.reference import import_segment_anything
import_segment_anything()
names = "automatic_mask_generator build_sam predictor modeling modeling.common " \
    "modeling.image_encoder modeling.mask_decoder modeling.prompt_encoder modeling.sam " \
    "modeling.transformer utils utils.amg utils.onnx utils.transforms".split()
import sam_mlx.compat.segment_anything as root
for name in ["", *names]:
    theirs = importlib.import_module(f"segment_anything.{name}".rstrip("."))
    ours = importlib.import_module(f"sam_mlx.compat.{name or 'segment_anything'}")
    for key, value in vars(theirs).items():
        own = getattr(value, "__module__", "") or ""
        if not key.startswith("_") and own == theirs.__name__ or (not name and key[0] != "_" \
                and not isinstance(value, types.ModuleType)):
            print(name, key, hasattr(ours, key))
"""
    rows = [line.rsplit(" ", 1) for line in output("-W", "ignore", "-c", code).splitlines()]
    assert len(rows) > 45
    assert [name for name, there in rows if there != "True"] == []


CLIENT = """
import sys
from pathlib import Path
print(sys.argv[1:], sys.path[0], __name__, __file__, Path(sys.argv[0]).name)
print([entry for entry in sys.path if "hook" in entry])
if len(sys.argv) > 1:
    sys.exit(int(sys.argv[1]))
raise ValueError("the client's own")
"""


@pytest.mark.slow
def test_a_client_runs_as_in_python(tmp_path):
    """Arguments, path, exit codes and tracebacks, byte for byte; stdin and -m too."""
    (tmp_path / "client.py").write_text(CLIENT)
    for arguments in (
        ["client.py"],
        ["client.py", "7"],
        ["client.py", "0", "--flag", "-m", "x y"],
        [tmp_path / "client.py", "3"],
        ["-m", "client", "5"],
        ["-c", "import sys; print(sys.argv); 1/0", "a"],
        ["missing.py"],
        ["-m", "missing"],
    ):
        expected = python(*arguments, cwd=tmp_path)
        found = python(*LAUNCH, *arguments, cwd=tmp_path)
        assert found.returncode == expected.returncode
        assert (found.stdout, found.stderr) == (expected.stdout, expected.stderr)


def test_flags_of_python_reach_the_client():
    code = "import sys; print(sys.flags.optimize, sys.warnoptions, sys.dont_write_bytecode)"
    assert output("-O", "-B", "-W", "error", *LAUNCH, "-c", code) == "1 ['error'] True"


def test_what_the_launcher_refuses():
    assert python(*LAUNCH).returncode == 2
    assert output(*LAUNCH, "--help").startswith("usage: python -m sam_mlx.compat")
    code = "import sys; sys.path[:0] = ['.']; sys.argv = ['', 'x']; "
    done = python("-I", "-c", code + "from sam_mlx.compat.__main__ import main; main()")
    assert done.returncode == 1 and "-E, -I and -S switch off" in done.stderr


NEED_OTHERS = (
    "-I; -E; -S; -IB; -sE; -uS; -W ignore -I; -Wignore -I; -X utf8 -E; -Xutf8 -S; -bb -OOI; "
    "--check-hash-based-pycs default -I"
)


@pytest.mark.parametrize(
    "client", [["-c", "import segment_anything"], ["-m", "this"], ["x.py"], []]
)
def test_flags_before_the_client_that_would_run_the_original(client):
    """They reached Python, which then ignored the way in: the installed package was used."""
    for flags in NEED_OTHERS.split("; "):
        with pytest.raises(SystemExit, match="-E, -I and -S switch off"):
            check_options([*flags.split(), *client])
    done = python(*LAUNCH, "-I", *client)
    assert done.returncode == 1 and "-E, -I and -S switch off" in done.stderr


def test_flags_of_the_client_are_its_own():
    code = "import sys, segment_anything as s; print(sys.argv[1:], 'sam_mlx' in s.__file__)"
    found = output(
        *LAUNCH, *["-B", "-W", "ignore", "-X", "utf8", "-s"], "-c", code, "-I", "-E", "-S"
    )
    assert found == "['-I', '-E', '-S'] True"
    for client in ("-m x -I", "-Bm x -S", "x.py -E", "- -I", "-WI x.py", "-X E x.py -I", "-cI"):
        check_options(client.split())


BEFORE = """
import sys, types
class Other:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "segment_anything":
            raise SystemExit("the original")
sys.meta_path.insert(0, Other)
import segment_anything
assert "sam_mlx" in segment_anything.__file__, segment_anything.__file__
"""


def test_a_finder_that_comes_first_does_not_win():
    output(*LAUNCH, "-c", BEFORE)


def test_an_original_that_python_itself_imports_is_overridden(tmp_path):
    """As a .pth file of site-packages may do, before the way in is reached."""
    (tmp_path / "segment_anything.py").write_text("")
    hook = ROOT / "sam_mlx" / "compat" / "hook"
    code = f"""
import sys
sys.path[:0] = [{str(hook)!r}, {str(tmp_path)!r}]
import segment_anything
sys.modules.pop("sitecustomize", None)
import sitecustomize
"""
    output("-c", code + IMPORTS)


CHILDREN = """
import multiprocessing, subprocess, sys
def name(_=None):
    import segment_anything, mobile_sam
    return segment_anything.__name__ + " " + mobile_sam.__name__
if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(name, [0])[0])
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"
    inner = "import segment_anything as s, mobile_sam as m; print(s.__name__, m.__name__)"
    subprocess.run([sys.executable, "-c", code, inner], check=True)
"""


def test_children(tmp_path):
    """Spawned workers, subprocesses and subprocesses of theirs."""
    (tmp_path / "client.py").write_text(CHILDREN)
    lines = output(*LAUNCH, "client.py", cwd=tmp_path).splitlines()
    assert lines == ["sam_mlx.compat.segment_anything sam_mlx.compat.segment_anything"] * 2


def test_the_package_is_the_launchers(tmp_path):
    """Also where it was found through the folder that Python was started in."""
    (tmp_path / "client.py").write_text("import sam_mlx, segment_anything; print(sam_mlx.__file__)")
    found = output(*LAUNCH, tmp_path / "client.py", PYTHONPATH="")
    assert found == str(ROOT / "sam_mlx" / "__init__.py")


def test_another_sitecustomize_still_runs(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.theirs = 'ran'")
    code = "import sys, sitecustomize as s; print(sys.theirs, s.__file__)"
    expected = f"ran {tmp_path / 'sitecustomize.py'}"
    assert output(*LAUNCH, "-c", code, before=str(tmp_path)) == expected
    (tmp_path / "sitecustomize.py").write_text("import a_module_that_is_not_there")
    done = python(*LAUNCH, "-c", "print('on')", before=str(tmp_path))
    plain = python("-c", "print('on')", before=str(tmp_path))
    assert done.stdout == plain.stdout and "a_module_that_is_not_there" in done.stderr


def test_nothing_stays(tmp_path):
    """The launcher leaves no file, and Python without it is as before."""
    (tmp_path / "client.py").write_text("import segment_anything")
    output(*LAUNCH, "client.py", cwd=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["client.py"]
    code = "import sys; print([f for f in sys.meta_path if 'sitecustomize' in str(f)])"
    assert output("-c", code) == "[]"
