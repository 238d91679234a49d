"""Where data comes from: the folder that was named, or a download that is checked."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from image_data import image_files, write

from thinwire.lab.tasks import DataNotFound, data_dir, find, images


def test_the_folder_comes_from_the_argument_then_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("THINWIRE_DATA", "elsewhere")
    assert data_dir(tmp_path) == tmp_path
    assert data_dir() == Path("elsewhere")
    monkeypatch.delenv("THINWIRE_DATA")
    assert data_dir() is None


@pytest.mark.parametrize(
    ("name", "folder"), [("adult", "adult"), ("avazu", "avazu"), ("shakespeare", "tinyshakespeare")]
)
def test_missing_files_are_explained(name: str, folder: str, tmp_path: Path) -> None:
    for root in (tmp_path, None):
        with pytest.raises(
            DataNotFound, match=rf"{root or 'no data folder'}.*{folder}/.*--data FOLDER or THINWIRE_DATA"
        ):
            find(name).load(root)


def test_a_folder_that_does_not_exist_is_not_created(tmp_path: Path) -> None:
    with pytest.raises(DataNotFound, match="typo"):
        find("mnist").load(tmp_path / "typo")
    assert not (tmp_path / "typo").exists()


def test_an_unreachable_address_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    source = dataclasses.replace(images.MNIST, base_url="http://127.0.0.1:9/")
    with pytest.raises(
        DataNotFound, match=r"http://127\.0\.0\.1:9/train-images.*offline, put .*MNIST/raw.*THINWIRE_DATA"
    ):
        source.load()
    assert not list((tmp_path / "thinwire/MNIST/raw").iterdir())


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[images.Source]:
    """MNIST's source, but on a server on this machine that has made-up images."""
    monkeypatch.setenv("no_proxy", "*")
    write(tmp_path / "server", image_files(), packed=True)
    handler = functools.partial(Quiet, directory=str(tmp_path / "server"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        md5_of = {
            name: hashlib.md5((tmp_path / "server" / name).read_bytes()).hexdigest() for name in images.MNIST.md5_of
        }
        yield dataclasses.replace(images.MNIST, base_url=f"http://127.0.0.1:{server.server_address[1]}/", md5_of=md5_of)
        server.shutdown()


def test_files_are_downloaded_once_and_then_read_from_the_folder(served: images.Source, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    first = served.load(tmp_path / "data")
    offline = dataclasses.replace(served, base_url="http://127.0.0.1:9/")
    assert torch.equal(first.train[0], offline.load(tmp_path / "data").train[0])
    assert {path.name for path in (tmp_path / "data/MNIST/raw").iterdir()} == set(served.md5_of)


def test_a_download_with_another_checksum_is_refused_and_leaves_nothing(served: images.Source, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(DataNotFound, match=r"MD5 is .* published is f68b3c2dcbeaaa9fbdd348bbdeb94873"):
        dataclasses.replace(served, md5_of=images.MNIST.md5_of).load(tmp_path / "data")
    assert not list((tmp_path / "data/MNIST/raw").iterdir())
