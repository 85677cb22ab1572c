"""A written folder to the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub
from huggingface_hub import constants, errors

CARD = "README.md"


def check_repo(repo: str) -> None:
    """Before any work: raises ValueError for a bad name, OSError where nothing can be sent."""
    try:
        huggingface_hub.utils.validate_repo_id(repo)
        if repo.count("/") != 1:
            raise errors.HFValidationError("it has no owner")
    except errors.HFValidationError as error:
        raise ValueError(
            f"{repo!r} is no name of a hub repository, owner/name: {first_line(error)}"
        ) from error
    if constants.HF_HUB_OFFLINE:
        raise OSError(f"offline, by HF_HUB_OFFLINE: nothing can be sent to {repo}")
    if huggingface_hub.get_token() is None:
        raise OSError(f"not logged in, which {repo} needs: hf auth login, or set HF_TOKEN")


def upload(folder: Path, repo: str) -> str:
    """Make the repository where there is none, and send the folder; returns its address.

    A README.md that is there stays. Raises OSError, with why and the command that sends later.
    """
    api = huggingface_hub.HfApi()
    try:
        address = str(api.create_repo(repo, exist_ok=True))
        kept = api.file_exists(repo, CARD)
        api.upload_folder(
            repo_id=repo,
            folder_path=folder,
            ignore_patterns=[CARD] if kept else None,
            commit_message="Convert to MLX",
        )
    except (errors.HTTPError, OSError, ValueError) as error:
        raise OSError(
            f"{folder} is written, and was not sent to {repo}: {reason(error)}. Later: "
            f"hf upload {repo} {folder}"
        ) from error
    if kept:
        print(
            f"{repo} has a {CARD}, which stays; to replace it by the new one: "
            f"hf upload {repo} {folder / CARD} {CARD}"
        )
    return address


def reason(error: Exception) -> str:
    status = error.response.status_code if isinstance(error, errors.HfHubHTTPError) else None
    if status == 401:
        return "the hub does not take the token: hf auth login"
    if status == 403:
        return "the token gives no right to write there: see huggingface.co/settings/tokens"
    if status is None and isinstance(error, (errors.HTTPError, ConnectionError)):
        return f"the hub cannot be reached ({first_line(error)})"
    return first_line(error)


def first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
