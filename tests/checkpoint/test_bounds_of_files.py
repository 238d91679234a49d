"""A bound holds for every tensor of the file, measured on what is restored."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from checkpoint_files import FLOATS, everything, same_bits, save, there_and_back, trained
from torch import Tensor

import thinwire as tw
from thinwire.checkpoint import Bounded, CheckpointError, Lossless, WithCodec, open_packed, pack, unpack

MATRICES = [f"matrix {dtype}" for dtype in FLOATS]


def error(kind: str, x: Tensor, y: Tensor, of: Tensor) -> float:
    gap, of = x.double() - y.double(), of.double()
    if not gap.any():
        return 0.0
    if kind == "nmse":
        return float(gap.square().sum() / of.square().sum())
    return float(gap.abs().max() / (of.square().mean().sqrt() if kind == "relative" else 1))


@pytest.mark.parametrize("slice_elements", [1 << 22, 700])
@pytest.mark.parametrize("text", ["nmse=0.3", "nmse=1e-4", "relative=0.5", "relative=1e-3", "absolute=0.01"])
def test_a_bound_holds_for_every_tensor(tmp_path: Path, text: str, slice_elements: int) -> None:
    tensors = everything()
    bound = Bounded.parse(text)
    source = save(tmp_path / "x.safetensors", tensors)
    back, report, _ = there_and_back(source, bound, slice_elements=slice_elements)
    for name, x in tensors.items():
        if name in report.lossy:
            assert error(bound.kind, x, back[name], x) <= bound.value, name
        else:
            assert same_bits(x, back[name]), name
    assert report.lossy >= set(MATRICES) - ({"matrix torch.bfloat16"} if bound.value < 0.01 else set())
    assert report.file_bytes < pack(source, tmp_path / "whole.tw", Lossless()).file_bytes
    assert same_bits(everything()["matrix torch.float32"], tensors["matrix torch.float32"])


@pytest.mark.parametrize("text", ["nmse=0.1", "relative=0.1", "absolute=0.001"])
def test_with_a_base_the_difference_is_bounded(tmp_path: Path, text: str) -> None:
    old = everything()
    new, bound = trained(old), Bounded.parse(text)
    base = save(tmp_path / "old.safetensors", old)
    back, report, _ = there_and_back(save(tmp_path / "new.safetensors", new), bound, base)
    assert report.lossy >= {"matrix torch.float32", "matrix torch.float64", "wide"} - {"wide"}
    for name in report.lossy:
        x, y, working = new[name], back[name], torch.float64 if new[name].dtype == torch.float64 else torch.float32
        difference = x.to(working) - old[name].to(working)
        # What the tensor's own dtype rounds comes on top: half its spacing at every element.
        rounding = x.abs().double() * torch.finfo(x.dtype).eps
        slack = {
            "nmse": float(rounding.square().sum() / difference.double().square().sum()) ** 0.5,
            "relative": float(rounding.max() / difference.double().square().mean().sqrt()),
            "absolute": float(rounding.max()),
        }[bound.kind]
        found = error(bound.kind, x, y, difference)
        limit = (bound.value**0.5 + slack) ** 2 if bound.kind == "nmse" else bound.value + slack
        assert found <= limit, name
    assert report.nmse < report.sent_nmse


def test_a_difference_takes_fewer_bytes_than_the_tensor(tmp_path: Path) -> None:
    g = torch.Generator().manual_seed(0)
    old = {"x": torch.randn(200, 200, generator=g)}
    new = {"x": old["x"] + 1e-3 * torch.randn(200, 200, generator=g)}
    base, source = save(tmp_path / "old.safetensors", old), save(tmp_path / "new.safetensors", new)
    _, whole, _ = there_and_back(source, Bounded("absolute", 1e-4))
    _, difference, _ = there_and_back(source, Bounded("absolute", 1e-4), base)
    assert 2 * difference.file_bytes < whole.file_bytes


def test_a_tensor_in_pieces_has_one_rms(tmp_path: Path) -> None:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(100, 100, generator=g)
    x[:50] *= 1000
    back, _, _ = there_and_back(
        save(tmp_path / "x.safetensors", {"x": x}), Bounded("relative", 0.1), slice_elements=1000
    )
    worst = (x - back["x"]).abs().reshape(10, -1).amax(1) / x.square().mean().sqrt()
    assert worst.max() <= 0.1
    # A bound of each piece's own would be 1,400 times finer in the quiet half, and cost bytes for nothing.
    assert worst[5:].min() > 0.001


@pytest.mark.parametrize(
    "text", ["Step(relative=0.01)", "Uniform(bits=4)", "TopK(0.1)", "LowRank(rank=4)", "Eden(bits=2)"]
)
def test_any_codec_may_be_asked_for(tmp_path: Path, text: str) -> None:
    tensors = everything()
    base = save(tmp_path / "old.safetensors", tensors)
    for given in (None, base):
        back, report, _ = there_and_back(
            save(tmp_path / "x.safetensors", trained(tensors)), WithCodec(tw.parse(text)), given
        )
        assert {"matrix torch.float32", "4-d"} - {"4-d"} <= report.lossy
        assert back.keys() == tensors.keys()


def test_a_seed_gives_the_same_file_again(tmp_path: Path) -> None:
    source, goal = save(tmp_path / "x.safetensors", everything()), WithCodec(tw.parse("Eden(bits=2)"))
    files = []
    for seed in (1, 1, 2):
        pack(source, tmp_path / "x.tw", goal, seed=seed)
        files.append((tmp_path / "x.tw").read_bytes())
    assert files[0] == files[1] != files[2]


BAD_GOALS = [
    (lambda: Bounded.parse("nmsee=0.1"), "'nmse'"),
    (lambda: Bounded.parse("nmse"), "nmse=0.001"),
    (lambda: Bounded.parse("nmse=x"), "nmse=0.001"),
    (lambda: Bounded.parse("nmse=1"), "below 1"),
    (lambda: Bounded.parse("absolute=0"), "above 0"),
    (lambda: Bounded.parse("relative=nan"), "above 0"),
    (lambda: Bounded.parse("relative=inf"), "above 0"),
    (lambda: WithCodec(tw.parse("ErrorBound(nmse=0.1)")), "ErrorBound is no codec"),
]


@pytest.mark.parametrize(("goal", "hint"), BAD_GOALS)
def test_goals_that_cannot_be(goal, hint: str) -> None:
    with pytest.raises(CheckpointError, match=hint):
        goal()


def test_a_codec_that_does_not_suit_names_the_tensor_and_leaves_nothing(tmp_path: Path) -> None:
    source = save(tmp_path / "x.safetensors", {"the matrix": torch.randn(40, 40)})
    with pytest.raises(CheckpointError, match="'the matrix': Symbols takes int32"):
        pack(source, tmp_path / "x.tw", WithCodec(tw.parse("Symbols()")))
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]


def test_another_base_is_refused_by_the_name_of_the_tensor(tmp_path: Path) -> None:
    old = everything()
    other = old | {"wide": old["wide"] + 1}
    base = save(tmp_path / "old.safetensors", old)
    pack(save(tmp_path / "new.safetensors", trained(old)), tmp_path / "x.tw", Bounded("nmse", 0.1), base)
    wrong = {
        "'wide' differs": other,
        "'bool' is missing": {name: x for name, x in old.items() if name != "bool"},
        r"'bool' is \(5,\) BOOL, expected \(2, 5\) BOOL": old | {"bool": torch.zeros(5, dtype=torch.bool)},
        r"'bool' is \(2, 5\) U8": old | {"bool": torch.zeros(2, 5, dtype=torch.uint8)},
    }
    for message, tensors in wrong.items():
        with pytest.raises(CheckpointError, match=message):
            unpack(tmp_path / "x.tw", tmp_path / "back", save(tmp_path / "wrong.safetensors", tensors))
    with pytest.raises(CheckpointError, match="is a difference"):
        unpack(tmp_path / "x.tw", tmp_path / "back")
    pack(base, tmp_path / "whole.tw", Lossless())
    with pytest.raises(CheckpointError, match="without a base"):
        unpack(tmp_path / "whole.tw", tmp_path / "back", base)
    with pytest.raises(CheckpointError, match="no tensor of a name"):
        pack(base, tmp_path / "y.tw", Lossless(), save(tmp_path / "stranger.safetensors", {"y": torch.zeros(2)}))
    assert not [path.name for path in tmp_path.iterdir() if "back" in path.name or path.name in ("y.tw", ".y.tw")]


def test_more_base_than_needed_does_no_harm(tmp_path: Path) -> None:
    old = everything()
    pack(
        save(tmp_path / "n.safetensors", trained(old)),
        tmp_path / "x.tw",
        Lossless(),
        save(tmp_path / "o.safetensors", old),
    )
    more = save(tmp_path / "more.safetensors", old | {"another": torch.zeros(7)})
    unpack(tmp_path / "x.tw", tmp_path / "back", more)
    assert len(open_packed(tmp_path / "x.tw").head.based) == len(old)
