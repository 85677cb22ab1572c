"""Find what a model's name stands for: a folder of the package, a path, or a hub repository."""

import difflib
import io
import os
import re
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from functools import partial
from pathlib import Path
from typing import Any

from ..files import packaged, user_path
from ..messages import shown
from ..terminal import say
from .files import shards
from .files.pytorch import SUFFIXES

SAFETENSORS = ["*.json", "*.safetensors"]
PYTORCH = ["*.json", "pytorch_model*.bin"]  # if there is nothing else
SUBFOLDERS = ["*/*"]  # of a training's checkpoints, for instance; not asked for
# Of the environment, what decides how the hub is reached.
SETTINGS = "HF_ENDPOINT", "HF_TOKEN", "HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"
# Released models by their usual names: a repository, and a file of it if not its top folder.
NAMES: dict[str, tuple[str, str | None]] = {
    "vit_b": ("facebook/sam-vit-base", None),
    "vit_l": ("facebook/sam-vit-large", None),
    "vit_h": ("facebook/sam-vit-huge", None),
    "mobile_sam": ("dhkim2810/MobileSAM", "mobile_sam.pt"),
    "sam_hq_vit_b": ("syscv-community/sam-hq-vit-base", None),
    "sam_hq_vit_l": ("syscv-community/sam-hq-vit-large", None),
    "sam_hq_vit_h": ("syscv-community/sam-hq-vit-huge", None),
    "sam_hq_vit_tiny": ("lkeab/hq-sam", "sam_hq_vit_tiny.pth"),
}
ALIASES = {"vit_t": "mobile_sam", "default": "vit_h", "light_hq_sam": "sam_hq_vit_tiny"}
KNOWN = ("nano", *NAMES)
RELEASED = f"models with names are {', '.join(KNOWN)}"


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
    name = ALIASES.get(name, name)
    if name in NAMES:
        return download(*NAMES[name], revision)
    if name.count("/") != 1 or name[0] in "./~" or path.suffix in (".safetensors", *SUFFIXES):
        hint = "" if "/" in name else f"; {RELEASED}; hub repositories are called owner/name"
        hint = guess(name) + hint
        raise FileNotFoundError(f"no such file or folder: {name}{hint}")
    return download(name, None, revision)


def guess(name: str) -> str:
    """A known name that is close to this one, as a question."""
    close = difflib.get_close_matches(name, (*KNOWN, *ALIASES), 1, 0.75)
    return f"; did you mean {close[0]}?" if close else ""


def download(repo: str, file: str | None, revision: str | None) -> Path:
    """A hub repository's top folder, or one file of it, from the hub's cache if it is there."""
    where = f"{repo} at revision {revision}" if revision else repo
    try:
        found = fetch(repo, revision) if file is None else fetch_file(repo, file, revision)
    except MemoryError:
        raise
    except Exception as error:  # of the HTTP client's there is no common class
        # Its own chain of errors is a hundred lines, of which the reason is one.
        raise FileNotFoundError(why_not(error, repo, where)) from None
    if file is None:
        check_whole(found, where)
    return found


def fetch(repo: str, revision: str | None) -> Path:
    with redirect_stdout(io.StringIO()):  # to which it prints what else it raises
        from huggingface_hub import snapshot_download

    def snapshot(patterns: list[str]) -> Path:
        return announced(
            repo,
            partial(
                snapshot_download, repo,
                revision=revision, allow_patterns=patterns, ignore_patterns=SUBFOLDERS,
            ),
        )  # fmt: skip

    folder = snapshot(SAFETENSORS)
    if not any(folder.glob("*.safetensors")):
        folder = snapshot(PYTORCH)
    return folder


def fetch_file(repo: str, file: str, revision: str | None) -> Path:
    from huggingface_hub import hf_hub_download

    return announced(f"{file} of {repo}", partial(hf_hub_download, repo, file, revision=revision))


def announced(what: str, get: Callable[..., Any]) -> Path:
    """What a function of the hub's package downloads, told before if it is not there yet."""
    announce(what, get)
    return Path(get())


def announce(what: str, get: Callable[..., Any]) -> None:
    """Say what will be downloaded, how much, and where it is kept; nothing of what is there. What
    is wrong is told by the download itself.
    """
    with suppress(Exception):
        try:
            get(local_files_only=True)
            return
        except FileNotFoundError:  # the hub's LocalEntryNotFoundError is one
            pass
        found = get(dry_run=True)
        files = found if isinstance(found, list) else [found]
        size = sum(each.file_size for each in files if each.will_download)
        if size:
            from huggingface_hub.constants import HF_HUB_CACHE

            say(f"downloading {what}, {size / 1e6:.0f} MB, to {HF_HUB_CACHE}", error=True)


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
            "once, or give a local file or folder (nano needs no download)"
        )
    return f"cannot fetch {where} from the hub: {reason(error)}"


def reason(error: BaseException) -> str:
    """What an error says, without the token, and the settings that it may be about."""
    text = re.sub(r"Bearer .*", "Bearer ...", f"{type(error).__name__}: {error}", flags=re.DOTALL)
    given = [name for name in SETTINGS if name in os.environ or name.lower() in os.environ]
    return f"{text}; see the settings {', '.join(given)}" if given else text
