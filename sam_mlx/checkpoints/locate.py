"""Find what a model's name stands for: a folder of the package, a path, or a hub repository."""

from pathlib import Path

from ..files import user_path
from .files.pytorch import SUFFIXES

ASSETS = Path(__file__).parents[1] / "assets"
SAFETENSORS = ["*.json", "*.safetensors"]
PYTORCH = ["*.json", "pytorch_model*.bin"]  # if there is nothing else
RELEASED = "such as facebook/sam-vit-base, -large and -huge; 'nano' ships with the package"


def resolve(path_or_repo: str | Path, revision: str | None = None) -> Path:
    """The local folder or file that a model's name stands for.

    Raises FileNotFoundError if nothing is there.
    """
    name = str(path_or_repo)
    if name == "nano":
        return ASSETS / "nano"
    path = user_path(name)
    if path.is_file() or path.is_dir():
        return path
    if path.exists():
        raise ValueError(f"{path} is neither a file nor a folder")
    if name.count("/") != 1 or name[0] in "./~" or path.suffix in (".safetensors", *SUFFIXES):
        hint = "" if "/" in name else f"; hub repositories are named owner/name, {RELEASED}"
        raise FileNotFoundError(f"no such file or folder: {name}{hint}")
    return download(name, revision)


def download(repo: str, revision: str | None) -> Path:
    """A snapshot of a hub repository, from the hub's cache if it is there."""
    from huggingface_hub import errors, snapshot_download

    where = f"{repo} at revision {revision}" if revision else repo
    try:
        folder = snapshot_download(repo, revision=revision, allow_patterns=SAFETENSORS)
        if not any(Path(folder).glob("*.safetensors")):
            folder = snapshot_download(repo, revision=revision, allow_patterns=PYTORCH)
    except errors.GatedRepoError as error:
        raise FileNotFoundError(
            f"{where} asks you to accept its terms on huggingface.co; do that, then: hf auth login"
        ) from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise FileNotFoundError(
            f"no folder {repo}, and no repository {where} on the Hugging Face hub ({RELEASED})"
        ) from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        raise FileNotFoundError(
            f"{where} is not in the hub's cache and the hub cannot be reached; connect once, or "
            "give a local folder"
        ) from error
    except (errors.HfHubHTTPError, errors.HFValidationError, OSError) as error:
        raise FileNotFoundError(f"cannot fetch {where} from the hub: {error}") from error
    return Path(folder)
