"""Folders to and from the Hugging Face Hub, through huggingface_hub (the extra `hub`)."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ostinato.bundle import RUN
from ostinato.errors import BundleError, MissingExtra


def download(name: str, revision: str | None = None) -> Path:
    """The folder of a repository, kept in the library's cache.

    Args:
        name: `owner/name`.
        revision: branch, tag or commit.

    Raises:
        BundleError: if it cannot be had.
        MissingExtra: if huggingface_hub is not installed.
    """
    hub = _hub(f"loading {name}, which is no folder here,")
    try:
        return Path(hub.snapshot_download(name, revision=revision, ignore_patterns=[f"{RUN}/*"]))
    except (OSError, ValueError) as error:  # the library's errors for HTTP and for names derive from these
        raise BundleError(f"{name}: no such folder here, and the Hub does not give it: {error}") from None


def upload(folder: Path, name: str, private: bool, message: str) -> str:
    """Upload a folder, without `run/`; the repository is made if it is not there.

    Returns:
        The address of the commit.
    """
    api = _hub("push_to_hub").HfApi()
    api.create_repo(name, private=private, exist_ok=True)
    options = {"commit_message": message, "ignore_patterns": [f"{RUN}/*"]}
    return str(api.upload_folder(folder_path=str(folder), repo_id=name, **options).commit_url)


def _hub(purpose: str) -> Any:
    if find_spec("huggingface_hub") is None:
        raise MissingExtra("huggingface_hub", "hub", purpose)
    import huggingface_hub

    return huggingface_hub
