"""A model in several files: what its index says is checked, and no name in it leads out of its folder."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from checkpoint_files import save
from safetensors import safe_open

from thinwire.checkpoint import Lossless, pack, unpack
from thinwire.cli import main
from thinwire.errors import CheckpointError

INDEX = "model.safetensors.index.json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two shards in a folder of their own; outside lies a file that nobody may reach."""
    model = tmp_path / "model"
    (model / "part").mkdir(parents=True)
    save(tmp_path / "outside.safetensors", {"b": torch.ones(3)})
    save(model / "1.safetensors", {"a": torch.zeros(3)}, {"format": "pt"})
    save(model / "part" / "2.safetensors", {"b": torch.ones(3)}, {"format": "pt"})
    return model


def index(folder: Path, content: object) -> Path:
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / INDEX).write_bytes(text.encode("utf-8", "surrogatepass"))
    return folder / INDEX


def weights(**names: object) -> dict[str, object]:
    return {"metadata": {}, "weight_map": names}


def test_all_shards_become_one_file(folder: Path, tmp_path: Path) -> None:
    source = index(folder, weights(a="1.safetensors", b="part/2.safetensors"))
    report = pack(source, tmp_path / "x.tw", Lossless())
    unpack(tmp_path / "x.tw", tmp_path / "back")
    with safe_open(tmp_path / "back", "pt") as opened:
        assert set(opened.keys()) == {"a", "b"}
        assert opened.metadata() == {"format": "pt"}
    assert report.notes == ()


BAD = {
    "a tensor that no shard has": weights(a="1.safetensors", b="part/2.safetensors", lost="1.safetensors"),
    "a tensor in another shard": weights(a="part/2.safetensors", b="1.safetensors"),
    "an empty map": weights(),
    "no map": {"metadata": {}},
    "an absolute path": weights(a="1.safetensors", b="{outside}"),
    "a path up": weights(a="1.safetensors", b="../outside.safetensors"),
    "a path down and up": weights(a="1.safetensors", b="part/../../outside.safetensors"),
    "a path up as Windows writes it": weights(a="1.safetensors", b="..\\outside.safetensors"),
    "a drive": weights(a="1.safetensors", b="C:\\outside.safetensors"),
    "no name": weights(a="1.safetensors", b=""),
    "its own folder": weights(a="1.safetensors", b="."),
    "a NUL": weights(a="1.safetensors", b="1.safetensors\0"),
    "an escape": weights(a="1.safetensors", b="\x1b[2J\u202e1.safetensors"),
    "a surrogate": '{"weight_map": {"a": "\\ud800"}}',
    "a number": weights(a=7),
    "a folder": weights(a="1.safetensors", b="part"),
    "a shard that is missing": weights(a="1.safetensors", b="3.safetensors"),
    "a list": [],
    "nested": "[" * 100_000,
    "nested objects": '{"weight_map":' * 100_000,
    "a name twice": '{"weight_map": {"a": "1.safetensors", "a": "part/2.safetensors"}}',
    "bytes": '{"weight_map": {"a": "\ud800"}}',
    "digits": '{"weight_map": ' + "9" * 5000 + "}",
}


@pytest.mark.parametrize("name", BAD)
def test_an_index_that_cannot_be_is_one_sentence(name: str, folder: Path, tmp_path: Path, capsys) -> None:
    text = BAD[name] if isinstance(BAD[name], str) else json.dumps(BAD[name])
    source = index(folder, text.replace("{outside}", str(tmp_path / "outside.safetensors")))
    with pytest.raises(CheckpointError) as found:
        pack(source, tmp_path / "x.tw", Lossless())
    assert str(found.value).isprintable()
    assert main(["pack", str(source), "-o", str(tmp_path / "x.tw")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "x.tw").exists()


def test_a_pipe_in_a_shards_place_is_not_waited_for(folder: Path, tmp_path: Path) -> None:
    os.mkfifo(folder / "pipe")
    with pytest.raises(CheckpointError, match="no regular file"):
        pack(index(folder, weights(a="1.safetensors", b="pipe")), tmp_path / "x.tw", Lossless())


def test_what_is_not_clear_is_said(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(folder / "part" / "2.safetensors", {"b": torch.ones(3), "more": torch.ones(2)}, {"format": "np", "x": "y"})
    source = index(folder, weights(a="1.safetensors", b="part/2.safetensors"))
    assert main(["pack", str(source), "-o", str(tmp_path / "x.tw")]) == 0
    text = capsys.readouterr().out
    assert "note: 1 tensors of the shards are not in the index's weight_map" in text
    assert "note: shards differ in the metadata 'format'" in text
    unpack(tmp_path / "x.tw", tmp_path / "back")
    with safe_open(tmp_path / "back", "pt") as opened:
        assert set(opened.keys()) == {"a", "b", "more"}
        assert opened.metadata() == {"format": "pt", "x": "y"}
