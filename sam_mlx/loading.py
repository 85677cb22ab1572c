"""From a folder, file or hub repository to a model, and back."""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import mlx.core as mx
from mlx.utils import tree_flatten
from safetensors import SafetensorError, safe_open

from . import weights as names
from .config import MODEL_TYPE, VARIANTS, SamConfig, load_config
from .modeling.layers import QuantizedLinear, quantize_linears
from .modeling.sam import Sam

ASSETS = Path(__file__).parent / "assets"
DTYPES = {"float32": mx.float32, "float16": mx.float16, "bfloat16": mx.bfloat16}


def from_pretrained(
    path_or_repo: str | Path,
    *,
    dtype: mx.Dtype | str | None = None,
    quantize: int | None = None,
    revision: str | None = None,
) -> Sam:
    """Load a model, with all its weights evaluated.

    path_or_repo: "nano" (ships with the package), a folder, a .safetensors file, or a Hugging
    Face repository such as "facebook/sam-vit-base", downloaded once and then served from the
    hub's cache, also offline. Accepts this package's format, Hugging Face's SAM layout, and
    safetensors with Meta's or MobileSAM's names. ``dtype`` casts the weights ("float16", ...);
    by default they keep the type they are stored in. ``quantize=8`` stores the weights of the
    image encoder's linear layers in 8 bits; checkpoints saved so load so. ``revision`` is a
    branch, tag or commit of the hub.

    Raises FileNotFoundError when nothing is there, ValueError when it is not a SAM model.
    """
    dtype, quantize = parse_dtype(dtype), parse_quantize(quantize)
    folder = resolve(path_or_repo, revision)
    config, weights = read_checkpoint(folder)
    return build(config, weights, dtype, source=str(folder), quantize=quantize)


def parse_dtype(dtype: mx.Dtype | str | None) -> mx.Dtype | None:
    dtype = DTYPES.get(dtype, dtype) if isinstance(dtype, str) else dtype
    if dtype is not None and dtype not in DTYPES.values():
        raise ValueError(f"dtype is {dtype!r}; expected one of {', '.join(DTYPES)}")
    return dtype


def parse_quantize(quantize: int | None) -> int | None:
    if quantize not in (None, QuantizedLinear.bits):
        raise ValueError(
            f"quantize is {quantize!r}; expected {QuantizedLinear.bits} (bits) or None"
        )
    return quantize


def resolve(path_or_repo: str | Path, revision: str | None = None) -> Path:
    """The local folder or safetensors file that a model name stands for."""
    name = str(path_or_repo)
    if name == "nano":
        return ASSETS / "nano"
    path = Path(name).expanduser()
    if path.exists():
        if path.suffix in (".pth", ".pt", ".bin", ".ckpt"):
            raise ValueError(
                f"{name} is a PyTorch file. Convert it once, in a clone of sam_mlx with "
                f"pip install '.[convert]':\n  python -m convert {name} {path.with_suffix('')}"
            )
        return path
    if name.count("/") != 1 or name[0] in "./~" or path.suffix in (".safetensors", ".pth", ".pt"):
        hint = "" if "/" in name else f"; hub repositories are named owner/name, {_released()}"
        raise FileNotFoundError(f"no such file or folder: {name}{hint}")
    return _download(name, revision)


def _released() -> str:
    return "as facebook/sam-vit-base, -large and -huge; 'nano' ships with the package"


def _download(repo: str, revision: str | None) -> Path:
    from huggingface_hub import errors, snapshot_download

    where = f"{repo} at revision {revision}" if revision else repo
    try:
        folder = snapshot_download(
            repo, revision=revision, allow_patterns=["config.json", "*.safetensors"]
        )
    except errors.GatedRepoError as error:
        raise FileNotFoundError(
            f"{where} asks for its terms to be accepted on huggingface.co; then: hf auth login"
        ) from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise FileNotFoundError(
            f"no folder {repo}, and no repository {where} on the Hugging Face hub ({_released()})"
        ) from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        raise FileNotFoundError(
            f"{where} is not in the hub's cache and the hub cannot be reached; connect once, or "
            "give a local folder"
        ) from error
    except (errors.HfHubHTTPError, errors.HFValidationError, OSError) as error:
        raise FileNotFoundError(f"cannot fetch {where} from the hub: {error}") from error
    return Path(folder)


def read_checkpoint(path: Path) -> tuple[SamConfig, dict[str, mx.array]]:
    """A checkpoint in any layout that loads without torch, as our names and layouts."""
    native = False
    if path.is_file():
        config = None
        weights = read_safetensors(path)
    else:
        config_file = path / "config.json"
        config = load_config(config_file) if config_file.exists() else None
        native = config is not None and json.loads(config_file.read_text())["model_type"] == (
            MODEL_TYPE
        )
        weights = _read_folder(path)
    if native:
        return config, weights
    try:
        return to_native(weights, config)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def to_native(
    weights: dict[str, mx.array], config: SamConfig | None = None
) -> tuple[SamConfig, dict[str, mx.array]]:
    """Foreign tensors, in PyTorch's layouts, as ours; ``config`` is read off them if not given."""
    weights = names.strip_wrapping(weights)
    if names.is_hugging_face(weights):
        weights = names.from_hugging_face(weights)
    if names.is_mobile_sam(weights):
        weights = names.from_mobile_sam(weights)
    config = config or names.infer_config(weights)
    weights = names.from_torch_layout(weights, Sam(config))
    return config, names.fit_relative_positions(weights, config)


def _read_folder(folder: Path) -> dict[str, mx.array]:
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise FileNotFoundError(f"{folder} holds no .safetensors file")
    if (folder / "model.safetensors") in files:
        files = [folder / "model.safetensors"]
    elif len(files) > 1 and not all(f.stem.startswith("model-") for f in files):
        listed = ", ".join(f.name for f in files)
        raise ValueError(f"{folder} holds several models ({listed}); give the path of one")
    return {name: w for file in files for name, w in read_safetensors(file).items()}


def read_safetensors(path: Path) -> dict[str, mx.array]:
    try:
        # mx.load reads lazily: a truncated file would only show when evaluated.
        with safe_open(path, "np"):
            pass
        return mx.load(str(path))
    except (SafetensorError, RuntimeError, OSError, ValueError) as error:
        raise ValueError(f"{path} is not a whole safetensors file: {error}") from error


def build(
    config: SamConfig,
    weights: dict[str, mx.array],
    dtype: mx.Dtype | None,
    source: str,
    quantize: int | None = None,
) -> Sam:
    """A model of ``config`` with exactly these weights; ValueError names every misfit."""
    model = Sam(config)
    quantize_linears(model, lambda path: f"{path}.scales" in weights)
    expected = dict(tree_flatten(model.parameters()))
    problems = [f"missing {n} {expected[n].shape}" for n in sorted(expected.keys() - weights)]
    problems += [f"unknown {n} {weights[n].shape}" for n in sorted(weights.keys() - expected)]
    problems += [
        f"{n} has shape {weights[n].shape}, expected {expected[n].shape}"
        for n in sorted(expected.keys() & weights)
        if weights[n].shape != expected[n].shape
    ]
    if problems:
        raise ValueError(
            f"{source} does not fit a SAM {config.variant}, {len(problems)} tensors differ:\n  "
            + "\n  ".join(problems)
        )
    model.load_weights(list(cast(weights, dtype).items()))
    if quantize:
        quantize_linears(model, lambda path: path.startswith("image_encoder."))
    mx.eval(model.parameters())
    model.eval()
    return model


def cast(weights: dict[str, mx.array], dtype: mx.Dtype | None) -> dict[str, mx.array]:
    """Weights in another precision, except the frequencies that coordinates are encoded with."""

    def wanted(name: str, stored: mx.Dtype) -> mx.Dtype:
        if "gaussian_matrix" in name:
            return mx.float32
        return dtype or stored if mx.issubdtype(stored, mx.floating) else stored

    return {name: w.astype(wanted(name, w.dtype)) for name, w in weights.items()}


def save_pretrained(model: Sam, folder: str | Path) -> None:
    """Write ``config.json`` and ``model.safetensors``; the folder appears whole or not at all.

    Raises FileExistsError when something is there already.
    """
    with whole_folder(folder) as temporary:
        write_checkpoint(temporary, model)


@contextmanager
def whole_folder(folder: str | Path) -> Iterator[Path]:
    """A folder to fill, renamed to ``folder`` at the end and removed after any error.

    Raises FileExistsError when something is there already, OSError when it cannot be written.
    """
    folder = refuse_existing(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise OSError(f"cannot write {folder}: {error.strerror}: {error.filename}") from error
    try:
        yield temporary
        temporary.chmod(0o755)
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def refuse_existing(path: str | Path) -> Path:
    path = Path(path).expanduser()
    if path.exists():
        raise FileExistsError(f"{path} exists already; delete it or choose another name")
    return path


def write_checkpoint(folder: Path, model: Sam) -> None:
    values = model.config.to_dict()
    if is_quantized(model):
        values["quantization"] = quantization(model)
    text = json.dumps(values, indent=2)
    (folder / "config.json").write_text(text + "\n")
    weights = dict(tree_flatten(model.parameters()))
    mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "mlx"})


def is_quantized(model: Sam) -> bool:
    return any(isinstance(module, QuantizedLinear) for module in model.modules())


def quantization(model: Sam) -> dict:
    """How layers are quantised, in the form that mlx-lm writes: what most have, and the others."""
    common = {"group_size": 64, "bits": QuantizedLinear.bits, "mode": "affine"}
    others = {
        path: {**common, "group_size": module.group_size}
        for path, module in model.named_modules()
        if isinstance(module, QuantizedLinear) and module.group_size != common["group_size"]
    }
    return {**common, **others}


def build_sam(variant: str, checkpoint: str | Path | None = None) -> Sam:
    """The model of a released variant: from a checkpoint of it, or with random weights."""
    if checkpoint is None:
        model = Sam(VARIANTS[variant])
        mx.eval(model.parameters())
        model.eval()
        return model
    model = from_pretrained(checkpoint)
    if model.config != VARIANTS[variant]:
        raise ValueError(f"{checkpoint} is a SAM {model.config.variant}, not {variant}")
    return model


sam_model_registry: dict[str, Callable[..., Sam]] = {
    **{name: partial(build_sam, name) for name in VARIANTS},
    "default": partial(build_sam, "vit_h"),
}
