"""Files from the Hugging Face hub and open_clip's download pages, from the cache when offline."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clipdistill.errors import UserError
from clipdistill.waits import network_limit

_SMALL_FILES = ["*.json", "*.txt", "*.model"]


def hub_folder(repository: str) -> Path:
    """Return the local folder of a hub repository, downloading what isn't cached yet.

    Weights are taken as safetensors; repositories without them get open_clip's or transformers' `.bin` file, which is
    read with `weights_only=True`.

    Raises:
        UserError: not cached and not reachable.
    """
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(repository, allow_patterns=_SMALL_FILES))
        ours = (folder / "open_clip_config.json").is_file()  # many repositories hold both layouts: take one
        for pattern in ("open_clip_*.safetensors" if ours else "model*.safetensors", "*.safetensors", "*.bin"):
            if any(folder.glob(pattern)):
                break
            folder = Path(snapshot_download(repository, allow_patterns=[*_SMALL_FILES, pattern]))
            if any(folder.glob(pattern)):
                break
    except Exception as error:
        raise UserError(_missing(f"hf-hub:{repository}", repository)) from error
    return folder


def pretrained_file(name: str, pretrained: Mapping[str, Any]) -> Path:
    """Return the weights file of an open_clip pretrained tag, downloading it where it isn't cached.

    Args:
        name: NAME:TAG, for messages.
        pretrained: open_clip's entry for the tag (`hf_hub`, `url`).

    Raises:
        UserError: not cached and not reachable.
    """
    import open_clip

    try:
        with network_limit():
            return Path(open_clip.download_pretrained(dict(pretrained)))
    except Exception as error:
        hub = str(pretrained.get("hf_hub") or "").rsplit("/", 1)[0]
        raise UserError(_missing(name, hub, str(pretrained.get("url") or ""))) from error


def in_hub_cache(repository: str, *files: str) -> str | None:
    """Where the first of a hub repository's files lies that is on this machine; None where none is."""
    from huggingface_hub import try_to_load_from_cache

    for file in files:
        try:
            found = try_to_load_from_cache(repository, file)
        except ValueError:  # no name that a repository could have
            return None
        if isinstance(found, str):
            return found
    return None


def _missing(name: str, repository: str, url: str = "") -> str:
    from huggingface_hub import constants

    model = name.split(":", 1)[0] if not name.startswith("hf-hub:") else None
    what = f"`hf download {repository}`" if repository else f"download {url} into ~/.cache/clip"
    where = f" (cache: {constants.HF_HUB_CACHE})" if repository else ""
    other = f", or give a file: {model}:/path/to/weights.safetensors" if model else ", or give a local folder"
    offline = " while HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else ""
    return f"model '{name}': its files aren't on this machine and couldn't be fetched{offline}; {what}{where}{other}"
