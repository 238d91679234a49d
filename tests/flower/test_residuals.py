"""References and residuals inside real Flower runs: both ends agree, and nothing that was not sent is lost."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import train
from flwr.app import Message
from flwr.serverapp.strategy import (
    FedAvg,
)
from rounds import NAMED, client, one_round

from thinwire.flower import CompressedGrid, LocalGrid, compress_client, fixed_sampling, records, state
from thinwire.flower.names import full_name, short
from thinwire.flower.protocol import Fate, Outcome, Reply, model_hash
from thinwire.wire import decode_message, loads


class Watched(CompressedGrid):
    """After every send: the models that each answering node holds, by its own state, beside what the server thinks."""

    def __init__(self, grid: LocalGrid, *args, **kwargs) -> None:
        super().__init__(grid, *args, **kwargs)
        self.local, self.checked = grid, 0

    def send_and_receive(self, messages, *, timeout=None):
        replies = list(super().send_and_receive(messages, timeout=timeout))
        for reply in replies:
            node = reply.metadata.src_node_id
            if reply.has_error():
                continue
            kept = state.load(self.local.context(node))
            for id in self.nodes[node].held:
                theirs = model_hash(dict(kept.reference(id)))
                assert theirs[: len(id)] == id
                assert theirs == self._downlink._references._held[id].hash
            self.checked += bool(self.nodes[node].held)
        return replies


@pytest.mark.parametrize(("fraction", "lossy"), [(1.0, False), (0.3, False), (0.3, True)])
def test_references_stay_identical(fraction, lossy, client_app, initial_arrays) -> None:
    rng = np.random.default_rng(3)

    def drop(message: Message) -> bool:
        return lossy and rng.random() < 0.3

    grid = LocalGrid(compress_client(client_app), 10, drop=drop)
    watched = Watched(grid, downlink="ErrorBound(nmse=0.1)")
    with fixed_sampling(3):
        FedAvg(fraction_train=fraction, fraction_evaluate=0.3).start(watched, initial_arrays, num_rounds=12, timeout=1)
    assert watched.checked >= (12 if lossy else 30)
    assert not any(t.kind == "refused" for t in watched.ledger)


def test_residuals_count_only_once_the_server_accepted(initial_arrays) -> None:
    """Per client: everything it ever wanted to send in accepted rounds == what the server got + the residual."""
    lost = {2, 5}
    seen: list[dict] = []

    def drop(message: Message) -> bool:
        return message.metadata.reply_to_message_id != "" and round_ in lost

    grid = CompressedGrid(
        Recording(LocalGrid(compress_client(client(train)), 1, drop=drop), seen), "Fixed(Step(nmse=0.4), below=200)"
    )
    arrays = initial_arrays
    for round_ in range(1, 8):
        one_round(grid, arrays, round_)
        now = state.load(grid._grid.inner.context(1))
        assert now.pending_round == round_
    last = now.answered[-1].sequence
    now.meet(now.session, last + 1, (Fate(last, Outcome.TAKEN),))
    settled = now.committed
    assert settled.keys() == {"residual/" + full_name("arrays", "hidden.weight")}
    total = sum(decoded["hidden.weight"] for decoded in seen)
    wanted = sum(given["hidden.weight"] for given in wanted_updates(lost))
    name = "residual/" + full_name("arrays", "hidden.weight")
    assert torch.allclose(total + settled[name], wanted, atol=1e-4)


class Recording:
    """Passes everything on and keeps the decoded updates that arrived."""

    def __init__(self, inner: LocalGrid, seen: list[dict]) -> None:
        self.inner, self.seen = inner, seen

    def __getattr__(self, name: str):
        return getattr(self.inner, name)

    def send_and_receive(self, messages, *, timeout=None):
        replies = self.inner.send_and_receive(messages, timeout=timeout)
        for reply in replies:
            frame = Reply.loads(records.carried(reply.content, records.UP)).frame
            from thinwire import Spec

            decoded = decode_message(loads(frame, {n: Spec(s, torch.float32) for n, s in NAMED.items()}))
            self.seen.append({short(n): x for n, x in decoded.items()})
        return replies


def wanted_updates(lost: set[int]) -> list[dict]:
    """The model never moves, so every round's update is half of the way from what the client was sent to its target."""
    from conftest import target

    goal = torch.from_numpy(target(0)["hidden.weight"])
    return [{"hidden.weight": goal / 2} for round_ in range(1, 8) if round_ not in lost]
