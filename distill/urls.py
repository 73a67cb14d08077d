"""What lies on a URL (object storage): whether a text is one, what is there, and errors of its library as one line.

Used wherever a place may be a URL: the teacher's journal, a run's `--out`, input files. Nothing here takes a folder to
exist: in object storage there are only objects, and names that begin alike.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from distill.errors import ConfigError, DistillError, Stopped, first_line

_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.I)
EXTRAS = ((("gs://", "gcs://"), "gcs"), (("az://", "abfs://", "abfss://"), "azure"))  # s3 for all others
_OF_THIS_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EMFILE)


def is_url(path: str) -> bool:
    """Whether a path is a URL of any file system, such as s3://bucket/folder."""
    return _URL.match(path) is not None


def is_storage(path: str) -> bool:
    """Whether a path is a URL of a file system and not of a web page or a server."""
    return is_url(path) and not path.lower().startswith(("http://", "https://"))


def listing(fs: Any, folder: str) -> dict[str, int]:
    """{name: bytes} of the objects in a folder of an fsspec filesystem now; {} where nothing is there yet."""
    fs.invalidate_cache()
    try:
        entries = fs.ls(folder, detail=True)
    except FileNotFoundError:
        return {}
    return {entry["name"].rsplit("/", 1)[-1]: entry["size"] or 0 for entry in entries if entry["type"] == "file"}


@contextmanager
def reaching(url: str) -> Iterator[None]:
    """What reading or writing a URL raises, in one line: ConfigError for a wrong one, Stopped for what may pass."""
    try:
        yield
    except (DistillError, KeyboardInterrupt):
        raise
    except FileNotFoundError:
        raise ConfigError(f"{url}: not there; check the bucket's name and the path") from None
    except PermissionError as error:
        raise ConfigError(f"{url}: no permission ({first_line(error)}); check the credentials") from None
    except ImportError as error:
        extra = next((name for schemes, name in EXTRAS if url.lower().startswith(schemes)), "s3")
        raise ConfigError(f"{url}: {first_line(error)} (pip install 'rerank-distill[{extra}]')") from None
    except Exception as error:  # whatever the storage's library raises: no credentials, no network, no such scheme
        if isinstance(error, OSError) and error.errno in _OF_THIS_DISK:
            raise
        if "credentials" in str(error).lower() or isinstance(error, ValueError):
            raise ConfigError(f"{url}: {first_line(error)}") from None
        raise Stopped(f"{url}: cannot be reached ({type(error).__name__}: {first_line(error)}); run again") from None
