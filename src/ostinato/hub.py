"""Models on the Hugging Face Hub, through huggingface_hub (the extra `hub`)."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ostinato.bundle import RUN, read_manifest
from ostinato.errors import BundleError, MissingExtra
from ostinato.tasks import load


def from_pretrained(name: str | Path, revision: str | None = None, device: str = "cpu") -> Any:
    """The model in a folder, or in a repository of the Hub if there is no such folder.

    Args:
        name: a path, or `owner/name` on the Hub.
        revision: branch, tag or commit.
        device: where its weights go.

    Raises:
        BundleError: if it is no model, or cannot be had.
        MissingExtra: if it is not on this machine and huggingface_hub is not installed.
    """
    if Path(name).exists():
        return load(name, device)
    hub = _hub(f"loading {name}, which is no folder here,")
    try:
        folder = hub.snapshot_download(str(name), revision=revision, ignore_patterns=[f"{RUN}/*"])
    except (OSError, ValueError) as error:  # the library's errors for HTTP and for names derive from these
        raise BundleError(f"{name}: no such folder here, and the Hub does not give it: {error}") from None
    return load(folder, device)


def push_to_hub(path: str | Path, repository: str, private: bool = True, message: str = "Upload a model") -> str:
    """Upload the model in a folder, without `run/`; the repository is made if it is not there.

    Returns:
        The address of the commit.

    Raises:
        BundleError: if the folder is no model.
        MissingExtra: if huggingface_hub is not installed.
    """
    read_manifest(Path(path))
    hub = _hub("push_to_hub").HfApi()
    hub.create_repo(repository, private=private, exist_ok=True)
    commit = hub.upload_folder(
        folder_path=str(path), repo_id=repository, commit_message=message, ignore_patterns=[f"{RUN}/*"]
    )
    return str(commit.commit_url)


def _hub(purpose: str) -> Any:
    if find_spec("huggingface_hub") is None:
        raise MissingExtra("huggingface_hub", "hub", purpose)
    import huggingface_hub

    return huggingface_hub
