"""What a client keeps between messages: in its Context or in a folder, damaged, lost, without a disk, cleaned up."""

from __future__ import annotations

import errno
import logging
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from rounds import client, one_round
from torch import Tensor

from thinwire.errors import WireError
from thinwire.flower import CompressedGrid, LocalGrid, compress_client, state
from thinwire.flower import store as stores
from thinwire.flower.engine import context_from_bytes, context_to_bytes
from thinwire.flower.store import ContextStore, FolderStore, clean, new_folder

DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int8, torch.uint8, torch.bool)
SHAPES = ((), (0,), (1,), (3, 0, 2), (5, 4), (2, 1, 3))


def context(node: int = 1, **config: str) -> Context:
    return Context(7, node, dict(config), RecordDict(), {})


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("THINWIRE_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture(params=["context", "folder"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> stores.Store:
    return ContextStore(context()) if request.param == "context" else FolderStore(tmp_path / "node")


def every_kind() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    kinds = {
        f"record\x00{dtype} {shape}\u00e9": (torch.randn(shape, generator=generator) * 40).to(dtype)
        for dtype in DTYPES
        for shape in SHAPES
    }
    odd = torch.tensor([float("nan"), float("-inf"), -0.0, 1e-45])
    return kinds | {"transposed": torch.arange(12.0).reshape(3, 4).T, "expanded": torch.ones(1).expand(4), "odd": odd}


def test_every_dtype_and_shape_comes_back(store: stores.Store) -> None:
    given = every_kind()
    store.write("one", given)
    store.write("none", {})
    store.commit({"session": 5, "name": "\u00e9"}, {"one", "none"})
    read = store.read("one")
    assert list(read) == list(given)
    for name, x in given.items():
        assert (read[name].dtype, read[name].shape) == (x.dtype, x.shape), name
        assert torch.equal(read[name].reshape(-1).view(torch.uint8), x.contiguous().reshape(-1).view(torch.uint8)), name
        read[name].fill_(1)  # a copy: nothing that is kept changes with it
    assert not store.read("none")
    assert store.facts() == {"session": 5, "name": "\u00e9"}
    store.commit({}, {"none"})
    assert store.facts() == {}
    with pytest.raises(WireError):
        store.read("one")


def test_any_flipped_or_missing_byte_is_noticed(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.write("one", {"a": torch.arange(4.0), "b": torch.zeros((), dtype=torch.bool)})
    path = tmp_path / "one"
    whole = path.read_bytes()
    for at in range(len(whole)):
        for damaged in (whole[:at], whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :]):
            path.write_bytes(damaged)
            with pytest.raises(WireError):
                dict(store.read("one"))
    path.write_bytes(whole + b"\0")
    with pytest.raises(WireError):
        store.read("one")


def test_modes_are_private_and_links_are_not_followed(root: Path) -> None:
    store, facts = new_folder(context())
    folder = root / facts["folder"]
    store.write("one", {"a": torch.ones(2)})
    store.commit({"session": 1}, {"one"})
    assert stat.S_IMODE(root.stat().st_mode) == 0o700
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    for name in ("one", "facts"):
        (folder / name).rename(root / name)
        (folder / name).symlink_to(root / name)
    with pytest.raises(WireError):
        dict(store.read("one"))
    assert store.facts() == {}
    elsewhere = root / "7-1-0123456789abcdef"
    elsewhere.symlink_to(folder)
    assert stores.folder_of(context(), {"folder": elsewhere.name}) is None
    assert stores.folder_of(context(), {"folder": "../" + folder.name}) is None


def test_clean_goes_by_age_and_bytes_and_touches_nothing_else(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = root / "holiday pictures"
    kept.mkdir(parents=True)
    (kept / "one.jpg").write_bytes(b"x" * 100)
    folders = []
    for age_days in (30, 3, 2, 1):
        store, facts = new_folder(context())
        store.write("one", {"a": torch.ones(1000)})
        folders.append(root / facts["folder"])
        os.utime(folders[-1], (time.time() - age_days * 86_400,) * 2)
    (root / "1-2-0123456789abcdef").symlink_to(kept)
    old = time.time() - 99 * 86_400
    os.utime(kept, (old, old))
    clean(root)
    assert [folder.exists() for folder in folders] == [False, True, True, True]
    monkeypatch.setattr(stores, "FOLDER_BYTES", 9000)
    clean(root)
    assert [folder.exists() for folder in folders] == [False, False, True, True]
    assert (kept / "one.jpg").exists()


def test_a_parent_that_cannot_be_cleaned_is_used_all_the_same(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "clean", full)
    store, _ = new_folder(context())
    store.write("x", {"a": torch.ones(1)})
    assert store.read("x")["a"] == 1


def test_states_of_two_processes_are_not_mixed(root: Path) -> None:
    one, two = new_folder(context()), new_folder(context())
    assert one[1] != two[1]
    one[0].write("x", {"a": torch.ones(1)})
    with pytest.raises(WireError):
        two[0].read("x")


def test_a_user_without_a_home_has_no_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("THINWIRE_STATE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)

    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nowhere)
    with pytest.raises(OSError, match="home"):
        new_folder(context())
    assert stores.root(context(**{"thinwire-folder": "/x"})) == Path("/x")


def half(message: Message, ctx: Context) -> Message:
    """Half of the way to a goal of the node; the app counts its messages in its own state."""
    seen = ctx.state.setdefault("seen", MetricRecord({"count": 0}))
    seen["count"] += 1
    assert set(ctx.state) == {"seen"}
    w = message.content["arrays"]["w"].numpy()
    out = ArrayRecord({"w": Array(((w + GOAL * ctx.node_id) / 2).astype(np.float32))})
    return Message(RecordDict({"arrays": out, "m": MetricRecord({"num-examples": 1})}), reply_to=message)


GOAL = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)


class Run:
    """Rounds of two nodes whose model moves to the mean of what they answer; ``error`` is how far off that is."""

    def __init__(self, behave: Callable[[Message, Context], Message] = half, uplink: str = "none") -> None:
        self.local = LocalGrid(compress_client(client(behave)), 2)
        self.grid, self.number = CompressedGrid(self.local, uplink, "lossless"), 0
        self.w = np.zeros((64, 64), np.float32)

    def go(self, rounds: int = 1) -> list[Message]:
        for _ in range(rounds):
            self.number += 1
            replies = one_round(self.grid, ArrayRecord({"w": Array(self.w)}), self.number)
            assert not [reply.error.reason for reply in replies if reply.has_error()]
            assert len(replies) == 2
            expected = (self.w + 1.5 * GOAL) / 2
            self.w = np.mean([reply.content["arrays"]["w"].numpy() for reply in replies], axis=0)
            assert np.allclose(self.w, expected, atol=1e-4)
        return replies

    def down(self, node: int = 1) -> list[str]:
        return [item.kind for item in self.grid.ledger if item.node_id == node and item.direction == "down"]

    def state(self, node: int = 1) -> RecordDict:
        return self.local.context(node).state


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch, root: Path) -> Path:
    """Any model is too large for the Context."""
    monkeypatch.setattr(stores, "CONTEXT_BYTES", 1000)
    return root


def test_a_large_model_leaves_the_context_small(large: Path) -> None:
    run = Run()
    run.go(4)
    assert run.down() == ["whole", "delta", "delta", "delta"]
    assert len(context_to_bytes(run.local.context(1))) < 1000
    assert len(list(large.iterdir())) == 2
    (folder,) = large.glob("1-1-*")
    assert sum(path.stat().st_size for path in folder.iterdir()) > GOAL.nbytes
    assert run.state()["seen"]["count"] == 4


def damage_files(change: Callable[[Path], None], which: str) -> Callable[[Run, Path], None]:
    def damage(run: Run, root: Path) -> None:
        (folder,) = root.glob("1-1-*")
        paths = [path for path in folder.iterdir() if path.name.startswith(which)]
        assert paths
        for path in paths:
            change(path)

    return damage


def flip(at: int) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[at] ^= 0x10
        path.write_bytes(bytes(data))

    return change


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def remove_folder(run: Run, root: Path) -> None:
    (folder,) = root.glob("1-1-*")
    FolderStore(folder).remove()


DAMAGE = {
    "values of the reference": damage_files(flip(-1), "reference-"),
    "the head of the reference": damage_files(flip(12), "reference-"),
    "the length of the head": damage_files(flip(3), "reference-"),
    "a reference that is cut": damage_files(cut, "reference-"),
    "a reference that is empty": damage_files(lambda path: path.write_bytes(b""), "reference-"),
    "a reference that is gone": damage_files(Path.unlink, "reference-"),
    "a reference that is a folder": damage_files(lambda path: (path.unlink(), path.mkdir()), "reference-"),  # type: ignore[arg-type,func-returns-value]
    "facts that are no text": damage_files(lambda path: path.write_bytes(b"\xff\xfe"), "facts"),
    "facts of another kind": damage_files(lambda path: path.write_text('{"session": {}}'), "facts"),
    "facts that are gone": damage_files(Path.unlink, "facts"),
    "the whole folder": remove_folder,
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_said_and_healed_in_the_same_round(what: str, large: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = Run()
    run.go(2)
    DAMAGE[what](run, large)
    run.go()
    assert run.down()[2:] == ["delta", "whole"]
    run.go(2)
    assert run.down()[4:] == ["delta", "delta"]
    assert "cannot be read" in caplog.text or "lost what it held" in caplog.text
    assert caplog.text.count("lost what it held") == 1


def test_damage_in_the_context_is_healed_too(caplog: pytest.LogCaptureFixture) -> None:
    for change in ("value", "facts", "none"):
        run = Run()
        run.go(2)
        ctx = run.local.context(1)
        names = [name for name in ctx.state if name.startswith("thinwire.reference-")]
        if change == "facts":
            ctx.state["thinwire.facts"] = ConfigRecord({"facts": "{"})
        for name in names:
            data = bytearray(ctx.state[name]["thinwire"].data)
            data[-1] ^= 1
            if change == "value":
                ctx.state[name]["thinwire"] = Array("uint8", (len(data),), "thinwire.state.v1", bytes(data))
            elif change == "none":
                del ctx.state[name]
        run.local._contexts[1] = context_to_bytes(ctx)
        run.go()
        assert run.down()[2:] == ["delta", "whole"], change
        run.go(2)
        assert run.down()[4:] == ["delta", "delta"], change


def test_a_damaged_residual_starts_anew(large: Path, caplog: pytest.LogCaptureFixture) -> None:
    local = LocalGrid(compress_client(client(half)), 1)
    grid = CompressedGrid(local, "TopK(0.1)", "lossless")
    for number in (1, 2, 3, 4):
        if number == 3:
            (folder,) = large.glob("1-1-*")
            for path in folder.glob("kept-*"):
                flip(-1)(path)
        (reply,) = one_round(grid, ArrayRecord({"w": Array(np.zeros((64, 64), np.float32))}), number)
        assert not reply.has_error()
    assert "starts anew" in caplog.text
    assert state.load(local.context(1)).pending


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


NO_DISK: dict[str, Callable[[pytest.MonkeyPatch, Path], None]] = {
    "full from the start": lambda patch, root: patch.setattr(FolderStore, "write", full),
    "no folder": lambda patch, root: patch.setattr(stores, "new_folder", full),
    "a file in the way": lambda patch, root: root.write_bytes(b""),  # type: ignore[func-returns-value]
    "no home": lambda patch, root: (patch.delenv("THINWIRE_STATE"), patch.setattr(Path, "home", full)),  # type: ignore[func-returns-value]
    "facts cannot be written": lambda patch, root: patch.setattr(FolderStore, "commit", full),
}


@pytest.mark.parametrize("why", NO_DISK)
def test_without_a_disk_a_node_goes_on_statelessly_and_says_so_once(
    why: str, large: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    NO_DISK[why](monkeypatch, large)
    run = Run()
    run.go(5)
    assert run.down() == ["whole"] * 5
    assert caplog.text.count("node 1 has no disk") == 1
    assert run.state()["seen"]["count"] == 5
    assert len(context_to_bytes(run.local.context(1))) < 1000
    assert not large.is_dir() or not list(large.iterdir())


def test_a_read_only_folder_is_no_disk(large: Path, caplog: pytest.LogCaptureFixture) -> None:
    large.mkdir(mode=0o500)
    if os.access(large, os.W_OK):
        pytest.skip("this user may write everywhere")
    run = Run()
    run.go(3)
    assert run.down() == ["whole"] * 3
    assert caplog.text.count("node 1 has no disk") == 1


def test_a_disk_that_fills_up_and_empties_again(
    large: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = Run(uplink="TopK(0.999)")
    write = FolderStore.write
    run.go(2)
    monkeypatch.setattr(FolderStore, "write", full)
    run.go(3)
    assert not list(large.iterdir())
    assert not state.load(run.local.context(1)).exchanges
    monkeypatch.setattr(FolderStore, "write", write)
    run.go(3)
    assert run.down() == ["whole", "delta", "delta", "whole", "whole", "whole", "delta", "delta"]
    assert "starts anew" not in caplog.text
    assert not list(large.glob("*/.*"))


def test_the_state_is_out_of_the_apps_sight_and_back_whatever_the_app_does() -> None:
    def behave(message: Message, ctx: Context) -> Message:
        number = message.content["config"]["server-round"]
        assert not [name for name in ctx.state if name.startswith("thinwire")]
        if number == 2:
            raise RuntimeError("out of memory")
        if number == 3:
            ctx.state = RecordDict({"mine": ConfigRecord({"x": 1})})
        if number == 4:
            assert ctx.state["mine"]["x"] == 1
            ctx.state.clear()
        return half_without_state(message, ctx)

    local = LocalGrid(compress_client(client(behave)), 1)
    grid = CompressedGrid(local, "TopK(0.1)", "lossless")
    start = np.zeros((64, 64), np.float32)
    for number in range(1, 7):
        (reply,) = one_round(grid, ArrayRecord({"w": Array(start + number)}), number)
        assert reply.has_error() == (number == 2)
        ours = {name for name in local.context(1).state if name.startswith("thinwire.")}
        assert "thinwire.facts" in ours
        assert any(name.startswith("thinwire.reference-") for name in ours)
        assert set(local.context(1).state) - ours == ({"mine"} if number == 3 else set())
    assert [item.kind for item in grid.ledger if item.direction == "down"] == ["whole"] + ["delta"] * 5


def half_without_state(message: Message, ctx: Context) -> Message:
    w = message.content["arrays"]["w"].numpy()
    out = ArrayRecord({"w": Array(((w + GOAL) / 2).astype(np.float32))})
    return Message(RecordDict({"arrays": out, "m": MetricRecord({"num-examples": 1})}), reply_to=message)


def test_a_state_that_moves_to_a_folder_keeps_everything(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that grows over the limit: the residual and the references come along."""
    local = LocalGrid(compress_client(client(half)), 1)
    grid = CompressedGrid(local, "TopK(0.1)", "lossless")
    for number in (1, 2):
        one_round(grid, ArrayRecord({"w": Array(np.full((64, 64), number, np.float32))}), number)
    before = state.load(local.context(1)).pending
    monkeypatch.setattr(stores, "CONTEXT_BYTES", 1000)
    ctx = context_from_bytes(local._contexts[1])
    kept = state.load(ctx)
    kept.save()
    kept.leave()
    assert "thinwire.facts" in ctx.state
    assert len(context_to_bytes(ctx)) < 1000
    after = state.load(ctx)
    assert after.references == kept.references
    assert all(torch.equal(x, after.pending[name]) for name, x in before.items())


def test_logs_are_quiet_where_nothing_is_wrong(large: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        Run().go(4)
    assert not caplog.records
