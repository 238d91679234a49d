"""Every bit returns: all dtypes and shapes, whole or as a difference, in one piece or many, in one file or several."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from checkpoint_files import FLOATS, INTEGERS, everything, same_bits, save, there_and_back, trained
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thinwire.checkpoint import CheckpointError, Lossless, open_packed, pack, unpack
from thinwire.checkpoint.entries import Entry
from thinwire.checkpoint.pieces import cut, groups
from thinwire.codec import Spec


@pytest.mark.parametrize("slice_elements", [1 << 22, 700])
@pytest.mark.parametrize("based", [False, True])
def test_every_bit_returns(tmp_path: Path, based: bool, slice_elements: int) -> None:
    old = everything()
    new = trained(old)
    base = save(tmp_path / "old.safetensors", old) if based else None
    source = save(tmp_path / "new.safetensors", new, {"format": "pt"})
    back, report, _ = there_and_back(source, Lossless(), base, slice_elements)
    assert back.keys() == new.keys()
    assert [name for name, x in new.items() if not same_bits(x, back[name])] == []
    assert (report.nmse, report.lossy) == (0.0, set())
    # Files that the library wrote return byte for byte, header and all.
    assert source.with_suffix(".back").read_bytes() == source.read_bytes()


def test_metadata_returns(tmp_path: Path) -> None:
    texts = {"format": "pt", "größe": '\n"\\ 𝛼', "": "", "step": "1" * 5000}
    source = save(tmp_path / "x.safetensors", {"x": torch.zeros(3)}, texts)
    there_and_back(source, Lossless())
    assert open_packed(source.with_suffix(".tw")).head.metadata == texts
    data = source.with_suffix(".back").read_bytes()
    assert json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"] == texts


def test_nothing_is_a_checkpoint_too(tmp_path: Path) -> None:
    source = save(tmp_path / "x.safetensors", {})
    assert there_and_back(source, Lossless())[0] == {}


def test_what_did_not_change_costs_next_to_nothing(tmp_path: Path) -> None:
    old = {f"layer{i}": torch.randn(100, 100, generator=torch.Generator().manual_seed(i)) for i in range(10)}
    new = old | {"layer3": old["layer3"] + 1e-3}
    base = save(tmp_path / "old.safetensors", old)
    _, report, _ = there_and_back(save(tmp_path / "new.safetensors", new), Lossless(), base)
    _, alone, _ = there_and_back(save(tmp_path / "3.safetensors", {"layer3": new["layer3"]}), Lossless(), base)
    assert report.file_bytes < alone.file_bytes + 9 * 40


def test_what_the_base_lacks_travels_whole(tmp_path: Path) -> None:
    g = torch.Generator().manual_seed(0)
    old = {"same": torch.randn(40, 40, generator=g), "shape": torch.zeros(40, 41), "dtype": torch.zeros(40, 40).half()}
    new = {name: torch.randn(40, 40, generator=g) for name in ("same", "shape", "dtype", "new")}
    base = save(tmp_path / "old.safetensors", old)
    back, _, _ = there_and_back(save(tmp_path / "new.safetensors", new), Lossless(), base)
    assert all(same_bits(x, back[name]) for name, x in new.items())
    assert [entry.name for entry in open_packed(tmp_path / "new.tw").head.based] == ["same"]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_names_shapes_and_dtypes(tmp_path: Path, data: st.DataObject) -> None:
    # Surrogates are no text, and safetensors keeps one name for itself.
    names = st.text(st.characters(exclude_categories=["Cs"]), max_size=12).filter(lambda name: name != "__metadata__")
    shapes = st.lists(st.integers(0, 6), max_size=4).map(tuple)
    dtypes = st.sampled_from([*FLOATS, *INTEGERS, torch.bool])
    kinds = data.draw(st.dictionaries(names, st.tuples(shapes, dtypes), max_size=5))
    tensors = {name: torch.randn(shape).to(dtype) for name, (shape, dtype) in kinds.items()}
    source = save(tmp_path / "x.safetensors", tensors)
    back, _, _ = there_and_back(source, Lossless(), slice_elements=data.draw(st.sampled_from([1, 5, 1 << 22])))
    assert all(same_bits(x, back[name]) for name, x in tensors.items())
    assert back.keys() == tensors.keys()


@given(shapes=st.lists(st.lists(st.integers(0, 9), max_size=4).map(tuple), max_size=6), most=st.integers(1, 60))
def test_pieces_cover_each_tensor_once_in_order_and_fit(shapes: list[tuple[int, ...]], most: int) -> None:
    entries = [Entry(str(i), "F32", Spec(shape, torch.float32)) for i, shape in enumerate(shapes)]
    for entry in entries:
        pieces = list(cut(entry, most))
        ends = [piece.start + piece.spec.numel for piece in pieces]
        assert [piece.start for piece in pieces] == [0, *ends[:-1]]
        assert ends[-1] == entry.spec.numel
        assert [piece.ends for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    found = list(groups(entries, most))
    assert [piece for group in found for piece in group] == [piece for entry in entries for piece in cut(entry, most)]
    assert all(sum(piece.spec.numel for piece in group) <= most for group in found)
    assert all(len({piece.entry.name for piece in group}) == len(group) for group in found)


def shards(folder: Path, parts: list[dict[str, torch.Tensor]]) -> Path:
    weight_map = {}
    for i, part in enumerate(parts):
        save(folder / f"{i}.safetensors", part, {"format": "pt"})
        weight_map |= dict.fromkeys(part, f"{i}.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    return index


def test_a_model_in_several_files_becomes_one(tmp_path: Path) -> None:
    tensors = everything()
    names = list(tensors)
    index = shards(tmp_path, [{name: tensors[name] for name in names[i::3]} for i in range(3)])
    back, _, _ = there_and_back(index, Lossless())
    assert all(same_bits(x, back[name]) for name, x in tensors.items())
    whole = save(tmp_path / "whole.safetensors", trained(tensors))
    back, _, _ = there_and_back(whole, Lossless(), base=index)
    assert all(same_bits(x, back[name]) for name, x in trained(tensors).items())


def test_shards_that_cannot_be_are_refused(tmp_path: Path) -> None:
    index = shards(tmp_path, [{"a": torch.zeros(3)}, {"b": torch.zeros(3)}])
    save(tmp_path / "1.safetensors", {"a": torch.zeros(3)})
    with pytest.raises(CheckpointError, match=r"'a' is in .*0\.safetensors and in .*1\.safetensors"):
        pack(index, tmp_path / "x.tw", Lossless())
    (tmp_path / "1.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"1\.safetensors"):
        pack(index, tmp_path / "x.tw", Lossless())
    for text in ("[]", "{", '{"weight_map": 3}', '{"weight_map": {"a": 3}}', "{}"):
        index.write_text(text)
        with pytest.raises(CheckpointError, match="weight_map"):
            pack(index, tmp_path / "x.tw", Lossless())
    assert not (tmp_path / "x.tw").exists()


def test_the_source_may_stand_where_the_result_goes(tmp_path: Path) -> None:
    tensors = {"x": torch.randn(50, 50)}
    source = save(tmp_path / "x.safetensors", tensors)
    pack(source, tmp_path / "x.tw", Lossless())
    unpack(tmp_path / "x.tw", source)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.safetensors", "x.tw"]
