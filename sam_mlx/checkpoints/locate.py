"""Find what a model's name stands for: a folder of the package, a path, or a hub repository."""

import io
import os
import re
from contextlib import redirect_stdout, suppress
from pathlib import Path

from ..files import packaged, user_path
from ..messages import shown
from .files import shards
from .files.pytorch import SUFFIXES

SAFETENSORS = ["*.json", "*.safetensors"]
PYTORCH = ["*.json", "pytorch_model*.bin"]  # if there is nothing else
SUBFOLDERS = ["*/*"]  # of a training's checkpoints, for instance; not asked for
# Of the environment, what decides how the hub is reached.
SETTINGS = "HF_ENDPOINT", "HF_TOKEN", "HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"
RELEASED = "such as facebook/sam-vit-base, -large and -huge; 'nano' ships with the package"


def resolve(path_or_repo: str | Path, revision: str | None = None) -> Path:
    """The local folder or file that a model's name stands for.

    Raises FileNotFoundError if nothing is there.
    """
    name = str(path_or_repo)
    if name == "nano":
        return packaged("nano")
    path = user_path(name)
    try:
        if path.is_file() or path.is_dir():
            return path
        if path.exists():
            raise ValueError(f"{path} is neither a file nor a folder")
    except OSError as error:  # a name that is too long, for instance
        raise FileNotFoundError(f"no file or folder {shown(name)}: {error.strerror}") from error
    if name.count("/") != 1 or name[0] in "./~" or path.suffix in (".safetensors", *SUFFIXES):
        hint = "" if "/" in name else f"; hub repositories are named owner/name, {RELEASED}"
        raise FileNotFoundError(f"no such file or folder: {name}{hint}")
    return download(name, revision)


def download(repo: str, revision: str | None) -> Path:
    """A snapshot of a hub repository, from the hub's cache if it is there."""
    where = f"{repo} at revision {revision}" if revision else repo
    try:
        folder = fetch(repo, revision)
    except MemoryError:
        raise
    except Exception as error:  # of the HTTP client's there is no common class
        raise FileNotFoundError(why_not(error, repo, where)) from error
    check_whole(folder, where)
    return folder


def fetch(repo: str, revision: str | None) -> Path:
    with redirect_stdout(io.StringIO()):  # to which it prints what else it raises
        from huggingface_hub import snapshot_download

    def snapshot(patterns: list[str]) -> Path:
        return Path(
            snapshot_download(
                repo, revision=revision, allow_patterns=patterns, ignore_patterns=SUBFOLDERS
            )
        )

    folder = snapshot(SAFETENSORS)
    if not any(folder.glob("*.safetensors")):
        folder = snapshot(PYTORCH)
    return folder


def check_whole(folder: Path, where: str) -> None:
    """Raise FileNotFoundError for a snapshot without weights, or without all that it lists.

    Without a connection the hub's package gives whatever an earlier download has left.
    """
    problem = "no weights are there"
    there = [*folder.glob("*.safetensors"), *folder.glob("pytorch_model*.bin")]
    if there:
        gone = [path.name for path in there if not path.exists()]
        for index in folder.glob("*.index.json"):
            with suppress(ValueError):  # of other weights, or damaged: told by who reads it
                gone += sorted(shards(index) - {path.name for path in there})
        if not gone:
            return
        problem = f"{shown(gone[0])} is missing"
    raise FileNotFoundError(
        f"the snapshot of {where} in the hub's cache, {folder}, is not whole: {problem}. If its "
        "download was cut off, connect and load it again; only files at the top of a repository "
        "are taken"
    )


def why_not(error: Exception, repo: str, where: str) -> str:
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return (
            f"{where} asks you to accept its terms on huggingface.co; do that, then: hf auth login"
        )
    if isinstance(error, (errors.RepositoryNotFoundError, errors.RevisionNotFoundError)):
        return f"no folder {repo}, and no repository {where} on the Hugging Face hub ({RELEASED})"
    if isinstance(error, (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled)):
        cause = f" ({reason(error.__cause__)})" if error.__cause__ else ""
        return (
            f"{where} is not in the hub's cache and the hub cannot be reached{cause}; connect "
            "once, or give a local folder"
        )
    return f"cannot fetch {where} from the hub: {reason(error)}"


def reason(error: BaseException) -> str:
    """What an error says, without the token, and the settings that it may be about."""
    text = re.sub(r"Bearer .*", "Bearer ...", f"{type(error).__name__}: {error}", flags=re.DOTALL)
    given = [name for name in SETTINGS if name in os.environ or name.lower() in os.environ]
    return f"{text}; see the settings {', '.join(given)}" if given else text
