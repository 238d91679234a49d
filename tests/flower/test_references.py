"""Server and clients hold the same reference, bit for bit, whatever gets lost on the way."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from thinwire import WireError
from thinwire.flower.instructions import Instructions
from thinwire.flower.package import Package, Reply, Step
from thinwire.flower.references import Held, Publisher
from thinwire.flower.shelf import MISSING, Shelf, follow
from thinwire.policy import Signals
from thinwire.wire import DEFAULT_LIMITS
from thinwire.zoo import compressor

TOLD = Instructions("auto", 1)


def model(seed: int, drift: float = 0.0) -> dict[str, Tensor]:
    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed))

    return {"w": normal(48, 40) + drift, "b": normal(40), "steps": torch.tensor(seed), "mask": normal(5) > 0}


def moved(tensors: dict[str, Tensor], seed: int, by: float = 0.05) -> dict[str, Tensor]:
    step = model(seed)
    return {n: x + by * step[n] if x.is_floating_point() else step[n] for n, x in tensors.items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)


def publisher(spec: str = "auto", keyframe_every: int = 3) -> Publisher:
    return Publisher(model(0), compressor(spec, "down"), keyframe_every)


def deliver(server: Publisher, held: Held, shelf: Shelf) -> tuple[Held, Shelf, str]:
    path = server.path(held)
    shelf = follow(Package.loads(server.package(path, TOLD)), shelf, DEFAULT_LIMITS)
    assert shelf.current is not None
    assert shelf.current.id == path.to.id
    assert same(shelf.current.tensors, path.to.tensors)
    return server.after(path, held), shelf, path.kind


@pytest.mark.parametrize("spec", ["auto", "none", "lossless", "Uniform(bits=4)", "LowRank(ratio=0.2)", "TopK(0.1)"])
def test_everybody_in_step_gets_one_small_delta_a_round(spec: str) -> None:
    server, held, shelf, content = publisher(spec), Held(), Shelf(), model(1)
    for round_ in range(1, 8):
        content = moved(content, round_)
        assert server.publish(content, Signals(round_), [held])
        held, shelf, kind = deliver(server, held, shelf)
        assert kind == "delta"
    assert shelf.keyframe is not None
    if spec in ("none", "lossless"):
        assert same(shelf.current.tensors, content)


def test_what_a_round_did_not_send_the_next_one_does() -> None:
    server, held, shelf, content = publisher("ErrorBound(nmse=0.3)"), Held(), Shelf(), model(1)
    errors = []
    for round_ in range(1, 9):  # the model stops moving after round 1; only a different bool keeps it "new"
        server.publish(content | {"steps": torch.tensor(round_)}, Signals(round_), [held])
        held, shelf, _ = deliver(server, held, shelf)
        errors.append(float((content["w"] - shelf.current.tensors["w"]).square().sum()))
    assert all(later <= 0.31 * earlier for earlier, later in pairwise(errors))


def test_a_model_already_held_is_a_hash() -> None:
    server, content = publisher(), model(1)
    server.publish(content, Signals(1))
    held, shelf, _ = deliver(server, Held(), Shelf())
    assert not server.publish({n: x.clone() for n, x in content.items()}, Signals(1))
    path = server.path(held)
    assert (path.kind, len(server.package(path, TOLD))) == (
        "held",
        len(Package(bytes(16), bytes(32), (), TOLD).dumps()),
    )
    assert same(
        follow(Package.loads(server.package(path, TOLD)), shelf, DEFAULT_LIMITS).current.tensors, path.to.tensors
    )


def test_late_clients_share_one_delta_from_the_keyframe() -> None:
    server = publisher(keyframe_every=100)
    server.publish(model(1), Signals(1))
    late, shelf, _ = deliver(server, Held(), Shelf())
    content, held, ahead = model(1), late, shelf
    for round_ in range(2, 12):
        content = moved(content, round_, by=0.002)
        server.publish(content, Signals(round_), [held])
        held, ahead, _ = deliver(server, held, ahead)
    first, second = server.path(late), server.path(late)
    assert first.kind == "keyframe delta"
    assert first.steps[0].frame is second.steps[0].frame  # encoded once
    missed = sum(link.nbytes for link in server._links)
    assert first.nbytes < missed
    _, caught_up, _ = deliver(server, late, shelf)
    error = (content["w"] - caught_up.current.tensors["w"]).square().sum()
    in_step = (content["w"] - ahead.current.tensors["w"]).square().sum()
    assert error < 3 * in_step + 1e-6


EVENTS = st.lists(
    st.tuples(
        st.lists(st.sampled_from(["ok", "ok", "lost", "reply lost", "absent", "restarted"]), min_size=4, max_size=4)
    ),
    min_size=1,
    max_size=14,
)


@settings(max_examples=40, deadline=None)
@given(EVENTS, st.integers(2, 5))
def test_references_agree_under_any_schedule(rounds: list[tuple[list[str]]], keyframe_every: int) -> None:
    server = publisher("ErrorBound(nmse=0.1)", keyframe_every)
    held, shelves, content = [Held()] * 4, [Shelf()] * 4, model(1)
    for number, (fates,) in enumerate(rounds, start=1):
        content = moved(content, number)
        server.publish(content, Signals(number), [h for h, fate in zip(held, fates, strict=True) if fate != "absent"])
        for client, fate in enumerate(fates):
            if fate == "absent":
                continue
            if fate == "restarted":
                shelves[client] = Shelf()
            held[client], shelves[client] = exchange(server, held[client], shelves[client], fate)
            assert held[client].ids() <= known(shelves[client])


def known(shelf: Shelf) -> set[bytes]:
    return {r.id for r in (shelf.current, shelf.keyframe) if r is not None}


def exchange(server: Publisher, held: Held, shelf: Shelf, fate: str) -> tuple[Held, Shelf]:
    """One message and its reply as the engine handles them; returns what the server believes and what is true."""
    path = server.path(held)
    after = server.after(path, held)
    certain = Held(
        held.current if held.current == after.current else None,
        held.keyframe if held.keyframe == after.keyframe else None,
    )
    if fate == "lost":
        return certain, shelf
    try:
        shelf = follow(Package.loads(server.package(path, TOLD)), shelf, DEFAULT_LIMITS)
    except WireError as error:
        if fate != "restarted" or MISSING not in str(error):
            raise
        return Held(), shelf
    assert shelf.current is not None
    assert same(shelf.current.tensors, path.to.tensors)
    return (certain if fate == "reply lost" else after), shelf


def test_links_that_outgrow_a_snapshot_are_forgotten() -> None:
    server, content = publisher("Uniform(bits=8)", keyframe_every=2), model(1)
    for round_ in range(1, 40):
        content = moved(content, round_)
        server.publish(content, Signals(round_))
    dense = sum(spec.nbytes for spec in server.schema.values())
    assert sum(link.nbytes for link in server._epochs) <= dense
    path = server.path(Held())
    assert path.kind == "snapshot"
    assert path.nbytes < 1.02 * dense


def test_a_non_finite_model_changes_nothing() -> None:
    server = publisher()
    server.publish(model(1), Signals(1))
    before = server.path(Held()).to.id
    with pytest.raises(WireError, match="'w' holds NaN"):
        server.publish(model(1) | {"w": torch.full((48, 40), float("nan"))}, Signals(2))
    assert server.path(Held()).to.id == before


def test_the_dtypes_of_the_first_model_stay() -> None:
    server = publisher()
    doubled = {n: x.double() if x.is_floating_point() else x for n, x in model(1).items()}
    server.publish(doubled, Signals(1))
    assert {x.dtype for x in server.path(Held()).to.tensors.values()} == {torch.float32, torch.int64, torch.bool}


def damaged(data: bytes) -> list[bytes]:
    return [data[:at] for at in range(0, len(data), 7)] + [bytes([b ^ 0x55]) + data[1:] for b in data[:1]]


def test_damaged_packages_are_refused() -> None:
    server = publisher()
    server.publish(model(1), Signals(1))
    data = server.package(server.path(Held()), TOLD)
    flips = [data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :] for at in range(0, len(data) - 30, 11)]
    shelf = Shelf()
    for bad in damaged(data) + flips:
        try:
            followed = follow(Package.loads(bad), shelf, DEFAULT_LIMITS)
        except WireError:
            continue
        # What no checksum covers and no hash depends on: the truncated base of a first contact and KEYFRAME flags.
        assert followed.current.id == server.path(Held()).to.id


def test_damaged_replies_are_refused() -> None:
    data = Reply(b"frame", 3, 0.1, 0.0, 0.0).dumps()
    assert Reply.loads(data) == replace(Reply.loads(data), frame=b"frame")
    unbelievable = [Reply(b"", 3, nmse, 0.0, 0.0).dumps() for nmse in (float("nan"), float("inf"), -1.0)]
    for bad in (data[:10], b"", b"XXXX" + data[4:], *unbelievable):
        with pytest.raises(WireError):
            Reply.loads(bad)


def test_packages_round_trip() -> None:
    told = Instructions("Fixed(TopK(0.01))", 7, 20, 4, 0.5, 1.25, 3.5, 6, 60.0, (0.1, None, -1e300))
    package = Package(b"b" * 16, b"t" * 32, (Step(b"one", 1), Step(b"", 2)), told)
    assert Package.loads(package.dumps()) == package


def test_damaged_instructions_are_refused_and_losses_that_are_none_are_none() -> None:
    told = Instructions("auto", 7, losses=(0.5, 0.25))
    data = told.dumps()
    unbelievable = [
        replace(told, **{name: value}).dumps()
        for name in ("volume_quantile", "importance", "elapsed_s", "missed_s")
        for value in (float("nan"), float("inf"))
    ]
    for bad in (b"", data[:20], data[:43], data[:-4] + b"\xff" * 4, *unbelievable):
        with pytest.raises(WireError):
            Instructions.loads(bad)
    infinite = replace(told, losses=(float("inf"), float("nan"), 1.0))
    assert Instructions.loads(infinite.dumps()).losses == (None, None, 1.0)


def test_a_peer_of_another_version_is_refused_by_name() -> None:
    package, reply = Package(b"b" * 16, b"t" * 32, (), TOLD).dumps(), Reply(b"frame", 3, 0.1, 0.0, 0.0).dumps()
    for loads, data in ((Package.loads, package), (Reply.loads, reply)):
        with pytest.raises(WireError, match="version 3"):
            loads(data[:4] + b"\x01" + data[5:])
