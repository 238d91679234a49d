"""Download published files once, checked, into a folder."""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from thinwire.files import replaced
from thinwire.lab.tasks.folder import ENVIRONMENT_NAME, DataNotFound

TIMEOUT_S = 30
CHUNK_BYTES = 1 << 20


def cache_dir() -> Path:
    """Return the folder for downloads: thinwire/ under XDG_CACHE_HOME, or under ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").expanduser() / "thinwire"


def download(base_url: str, md5_of: Mapping[str, str], folder: Path) -> None:
    """Fetch every file of `md5_of` that `folder` lacks from `base_url` + its name.

    A file appears under its name only once it is complete and its MD5 agrees. Raises DataNotFound otherwise, which
    says what was tried and how to place the files by hand.
    """
    for name, md5 in md5_of.items():
        if not (folder / name).is_file():
            try:
                _fetch(base_url + name, md5, folder / name)
            except (OSError, http.client.HTTPException) as error:
                raise DataNotFound(
                    f"cannot download {base_url}{name}: {error}; offline, put {', '.join(md5_of)} into {folder}, "
                    f"or name another data folder by --data FOLDER or {ENVIRONMENT_NAME}"
                ) from error


def _fetch(url: str, md5: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced(path) as file, urllib.request.urlopen(url, timeout=TIMEOUT_S) as reply:
        digest = hashlib.md5(usedforsecurity=False)
        while chunk := reply.read(CHUNK_BYTES):
            digest.update(chunk)
            file.write(chunk)
        if digest.hexdigest() != md5:
            raise OSError(f"MD5 is {digest.hexdigest()}, published is {md5}")
