"""Files out of a downloaded archive, by name; nothing else in it is written."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from thinwire.files import replaced

LIMIT_BYTES = 2**30


def unpack(archive: Path, names: Iterable[str], folder: Path) -> None:
    """Write the files `names` of a .zip or .tar.gz below `folder`, each under its name once it is complete.

    Raises ValueError for a damaged archive, one that lacks a name, and a file over 1 GiB.
    """
    missing = set(names)
    try:
        with _files(archive) as files:
            for name, size, file in files:
                if name in missing:
                    _write(file, size, folder / name)
                    missing.remove(name)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(f"{archive}: damaged archive: {error}; delete it to have it downloaded again") from error
    if missing:
        raise ValueError(f"{archive}: lacks {', '.join(sorted(missing))}; delete it to have it downloaded again")


@contextmanager
def _files(archive: Path) -> Iterator[Iterator[tuple[str, int, IO[bytes]]]]:
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as pack:
            yield ((info.filename, info.file_size, pack.open(info)) for info in pack.infolist() if not info.is_dir())
    else:
        with tarfile.open(archive, "r:gz") as tape:
            found = ((member, tape.extractfile(member)) for member in tape if member.isreg())
            yield ((member.name, member.size, file) for member, file in found if file is not None)


def _write(file: IO[bytes], size: int, path: Path) -> None:
    if size > LIMIT_BYTES:
        raise ValueError(f"{path.name} takes {size} bytes, over the limit of {LIMIT_BYTES}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced(path) as target:
        shutil.copyfileobj(file, target)
