"""Upload a converted folder to the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub
from huggingface_hub import constants, errors

CARD = "README.md"


def check_repo(repo: str) -> None:
    """Run before any work. Raises ValueError for a bad name, OSError if nothing can be sent."""
    try:
        huggingface_hub.utils.validate_repo_id(repo)
        if repo.count("/") != 1:
            raise errors.HFValidationError("it has no owner")
    except errors.HFValidationError as error:
        raise ValueError(
            f"{repo!r} is not the name of a hub repository, owner/name: {first_line(error)}"
        ) from error
    if constants.HF_HUB_OFFLINE:
        raise OSError(f"HF_HUB_OFFLINE is set: nothing can be sent to {repo}")
    if huggingface_hub.get_token() is None:
        raise OSError(f"not logged in, as {repo} requires: hf auth login, or set HF_TOKEN")


def upload(folder: Path, repo: str) -> str:
    """Create the repository if it is missing, and upload the folder; returns its address.

    An existing README.md is kept. Raises OSError with the reason, and the command to upload later.
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
            f"{folder} was written, but not sent to {repo}: {reason(error)}. To send it "
            f"later: hf upload {repo} {folder}"
        ) from error
    if kept:
        print(
            f"{repo} has a {CARD}, which is kept; to replace it with the new one: "
            f"hf upload {repo} {folder / CARD} {CARD}"
        )
    return address


def reason(error: Exception) -> str:
    status = error.response.status_code if isinstance(error, errors.HfHubHTTPError) else None
    if status == 401:
        return "the hub rejects the token: hf auth login"
    if status == 403:
        return "the token does not allow writing there: see huggingface.co/settings/tokens"
    if status is None and isinstance(error, (errors.HTTPError, ConnectionError)):
        return f"the hub cannot be reached ({first_line(error)})"
    return first_line(error)


def first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
