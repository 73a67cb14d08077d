"""Push a folder to the Hugging Face hub as a dataset or a model: private by default.

The token comes from the environment variable HF_TOKEN only (a login on this machine is not used), and is never shown.
Not covered: a token that the hub itself puts into an error's text, which no hub is known to do; it is taken out anyway.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from distill.config import secret
from distill.errors import DistillError, EndpointError, InputError
from distill.tables import counted

TOKEN = "HF_TOKEN"
NAME = re.compile(r"([A-Za-z0-9][\w.-]{0,95}/)?[A-Za-z0-9][\w.-]{0,95}")


def check_name(name: str) -> None:
    """Raises InputError for what cannot be a dataset's name on the hub."""
    if not NAME.fullmatch(name) or name.endswith((".git", "-", ".")) or "--" in name or ".." in name:
        raise InputError(
            f"--push-to-hub {name}: is no name of a dataset; write OWNER/NAME in letters, digits, -, _ and ."
        )


def _place(kind: str, name: str) -> str:
    """A repository's path on the hub: models are at its top."""
    return f"datasets/{name}" if kind == "dataset" else name


def plan(folder: Path, name: str, public: bool, kind: str = "dataset") -> list[str]:
    """What `push` would send, in lines; asks nobody."""
    check_name(name)
    place = _place(kind, name)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    total = sum(path.stat().st_size for path in files)
    state = "set" if os.environ.get(TOKEN, "").strip() else f"not set; export {TOKEN}=... before the push"
    return [
        f"would push {counted(len(files), 'file')}, {counted(total, 'byte')}, "
        f"to {place} ({_visible(public)}) at {_endpoint()}",
        *(f"  {path.relative_to(folder).as_posix()}  {path.stat().st_size:,}" for path in files),
        f"  {TOKEN} is {state}",
    ]


def push(folder: Path, name: str, public: bool, kind: str = "dataset") -> str:
    """Upload the folder, making the dataset (or, by `kind`, the model) where there is none; returns its address.

    Shards of an earlier push that this one does not have are removed; other files on the hub stay. Raises ConfigError
    without a token, InputError where the dataset exists and is public but `public` was not said, or the hub refuses
    the token or the name, EndpointError where the hub is not reached.
    """
    check_name(name)
    token = secret(TOKEN, "--push-to-hub")
    from huggingface_hub import HfApi

    api = HfApi(endpoint=_endpoint(), token=token)

    def work() -> str:
        made = api.create_repo(name, repo_type=kind, private=not public, exist_ok=True)
        repo = made.repo_id
        if not public and not api.repo_info(repo, repo_type=kind).private:
            raise InputError(f"{_place(kind, repo)} is public on the hub; add --public, or choose another name")
        api.upload_folder(
            repo_id=repo,
            repo_type=kind,
            folder_path=folder,
            commit_message="Upload with rerank-distill",
            delete_patterns=["data/*.parquet", "data/*/*.parquet"] if kind == "dataset" else ["*.safetensors"],
        )
        return f"{_endpoint()}/{_place(kind, repo)}"

    return _told(work, token, _place(kind, name))


def _told(work: Callable[[], str], token: str, place: str) -> str:
    """Run the work; the hub's errors become one line each, without the token."""
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        return work()
    except OfflineModeIsEnabled:
        raise EndpointError("HF_HUB_OFFLINE is set, so nothing can be pushed; unset it, or use --dry-run") from None
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        if status in (401, 403):
            raise InputError(f"the hub refused (HTTP {status}): {TOKEN} may not write to {place}") from None
        said = _first_line(error).replace(token, "***")
        kind: type[DistillError] = InputError if status and 400 <= status < 500 else EndpointError
        raise kind(f"the hub refused {place} (HTTP {status}): {said}") from None
    except Exception as error:
        # The hub's client uses httpx or httpx2, by its version; both call a failed connection a TransportError.
        if not isinstance(error, OSError) and "TransportError" not in {c.__name__ for c in type(error).__mro__}:
            raise
        raise EndpointError(f"{_endpoint()}: not reached ({_first_line(error).replace(token, '***')})") from None


def _first_line(error: BaseException) -> str:
    message: Any = getattr(error, "server_message", None) or str(error) or type(error).__name__
    return str(message).strip().splitlines()[0][:300]


def _endpoint() -> str:
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def _visible(public: bool) -> str:
    return "public" if public else "private"
