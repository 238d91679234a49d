"""Apps of Flower's older API get the one line too: NumPyClient, client_fn, strategies in threads, lists of weights."""

from __future__ import annotations

import numpy as np
import pytest
from flwr.client import Client, NumPyClient
from flwr.client.mod import adaptiveclipping_mod, fixedclipping_mod
from flwr.clientapp import ClientApp
from flwr.common import (
    Code,
    Context,
    EvaluateIns,
    EvaluateRes,
    FitIns,
    FitRes,
    Parameters,
    Status,
    ndarrays_to_parameters,
    parameters_to_ndarrays,
)
from flwr.server import ServerApp, ServerAppComponents, ServerConfig
from flwr.server.strategy import (
    DifferentialPrivacyClientSideAdaptiveClipping,
    DifferentialPrivacyClientSideFixedClipping,
    FedAdam,
    FedAvg,
    FedMedian,
    Strategy,
)

from thinwire.flower import CompressedGrid, compress_client, compress_server, run_local

TREE = b'{"split": [1, 2, 3], "left": null}' * 300
SHAPES = [(60, 50), (50,), (50, 10)]
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def first() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape).astype(np.float32) for shape in SHAPES]


class Walker(NumPyClient):
    """Goes a fixed step each round; its evaluation says how far the model is from where all started."""

    def fit(self, parameters, config):
        rng = np.random.default_rng(7)
        return [x + 0.1 * rng.normal(size=x.shape).astype(np.float32) for x in parameters], 10, {"train_loss": 0.5}

    def evaluate(self, parameters, config):
        return float(sum(((x - y) ** 2).sum() for x, y in zip(parameters, first(), strict=True))), 10, {"seen": 1.0}


def run(strategy: Strategy, wrap, client: ClientApp, rounds: int = 3):
    finals: list[list[np.ndarray]] = []
    aggregate = strategy.aggregate_fit

    def kept(server_round, results, failures):
        assert not failures
        parameters, metrics = aggregate(server_round, results, failures)
        finals.append(parameters_to_ndarrays(parameters))
        return parameters, metrics

    strategy.aggregate_fit = kept  # type: ignore[method-assign]
    config = ServerConfig(num_rounds=rounds)
    server = ServerApp(server_fn=lambda context: ServerAppComponents(strategy=strategy, config=config))
    grid = run_local(wrap(server), client, 3)
    return grid, finals


@pytest.mark.parametrize("kind", [FedAvg, FedMedian, FedAdam])
def test_a_list_of_weights_is_compressed_and_learns_the_same(kind) -> None:
    def client_fn(context: Context) -> Client:
        return Walker().to_client()

    def strategy() -> Strategy:
        return kind(initial_parameters=ndarrays_to_parameters(first()), min_available_clients=3)

    stock, expected = run(strategy(), lambda app: app, ClientApp(client_fn=client_fn))
    grids: list[CompressedGrid] = []
    original = CompressedGrid.finish

    def finish(grid: CompressedGrid) -> None:
        grids.append(grid)
        original(grid)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CompressedGrid, "finish", finish)
        ours, got = run(strategy(), compress_server, compress_client(ClientApp(client_fn=client_fn)))
    dense, sent = (sum(t.engine_bytes for t in grid.traffic) for grid in (stock, ours))
    assert sent < dense / 4  # of 3,500 weights, Flower's own frame around each message is most
    for x, y in zip(got[-1], expected[-1], strict=True):
        assert x.dtype == y.dtype
        assert ((x - y) ** 2).mean() < (0.1 if kind is FedAdam else 0.01)  # Adam makes a step of a small error
    (grid,) = grids
    assert grid._rounds.number == 3
    assert {t.kind for t in grid.ledger if t.direction == "up"} == {"update"}
    assert {t.message for t in grid.ledger} == {"train", "evaluate"}
    again = {t.kind for t in grid.ledger if (t.direction, t.message) == ("down", "train") and t.round > 1}
    assert again == {"held"}  # it is the model that the evaluation brought, under another name
    assert len(grid.nodes.losses) == 2
    assert all(loss == pytest.approx(0.5) for loss in grid.nodes.losses)


class Watching(FedAvg):
    """Notes the norm of every contribution as the server has it, over the clipping norm of its message."""

    def __init__(self) -> None:
        super().__init__(initial_parameters=ndarrays_to_parameters(first()), min_available_clients=3)
        self.shares: list[float] = []

    def configure_fit(self, server_round, parameters, client_manager):
        self.sent = parameters_to_ndarrays(parameters)
        self.messages = super().configure_fit(server_round, parameters, client_manager)
        return self.messages

    def aggregate_fit(self, server_round, results, failures):
        assert not failures
        norm = float(self.messages[0][1].config["clipping_norm"])
        for _, result in results:
            got = parameters_to_ndarrays(result.parameters)
            squares = sum(np.sum((x.astype(float) - y) ** 2) for x, y in zip(got, self.sent, strict=True))
            self.shares.append(float(np.sqrt(squares)) / norm)
        return super().aggregate_fit(server_round, results, failures)


DP = {
    "fixed": (fixedclipping_mod, lambda inner: DifferentialPrivacyClientSideFixedClipping(inner, 0.1, 0.5, 3)),
    "adaptive": (
        adaptiveclipping_mod,
        lambda inner: DifferentialPrivacyClientSideAdaptiveClipping(inner, 0.1, 3, initial_clipping_norm=0.5),
    ),
}


@pytest.mark.parametrize("kind", DP)
@pytest.mark.parametrize("uplink", ["auto", "TopK(0.01)", "qsgd"])
def test_clipping_bounds_what_a_client_contributes(kind: str, uplink: str) -> None:
    mod, private = DP[kind]
    client = ClientApp(client_fn=lambda context: Walker().to_client(), mods=[mod])
    watching, config = Watching(), ServerConfig(num_rounds=4)
    components = ServerAppComponents(strategy=private(watching), config=config)
    server = ServerApp(server_fn=lambda context: components)
    run_local(compress_server(server, uplink), compress_client(client), 3)
    assert len(watching.shares) == 12
    assert 0.05 < max(watching.shares) <= 1 + 1e-6


def test_the_first_model_may_come_from_a_client() -> None:
    class Source(Walker):
        def get_parameters(self, config):
            return first()

    client = ClientApp(client_fn=lambda context: Source().to_client())
    _, finals = run(FedAvg(min_available_clients=3), compress_server, compress_client(client), rounds=2)
    assert len(finals) == 2


def test_parameters_that_are_no_arrays_come_as_they_were_in_fewer_bytes() -> None:
    """Boosted trees as bytes, as Flower's XGBoost examples had them."""

    class Trees(Client):
        def fit(self, ins: FitIns) -> FitRes:
            grown = Parameters(tensors=[b"".join(ins.parameters.tensors) + TREE], tensor_type="")
            return FitRes(Status(Code.OK, ""), grown, 1, {})

        def evaluate(self, ins: EvaluateIns) -> EvaluateRes:
            return EvaluateRes(Status(Code.OK, ""), 0.0, 1, {})

    class Bagging(FedAvg):
        def aggregate_fit(self, server_round, results, failures):
            assert not failures
            seen.append([result.parameters.tensors[0] for _, result in results])
            return results[0][1].parameters, {}

    seen: list[list[bytes]] = []
    strategy = Bagging(initial_parameters=Parameters(tensors=[], tensor_type=""), min_available_clients=3)
    config = ServerConfig(num_rounds=3)
    server = ServerApp(server_fn=lambda context: ServerAppComponents(strategy=strategy, config=config))
    client = ClientApp(client_fn=lambda context: Trees())
    stock, ours = run_local(server, client, 3), run_local(compress_server(server), compress_client(client), 3)
    assert seen == 2 * [[number * TREE] * 3 for number in (1, 2, 3)]
    sent, dense = (sum(moved.engine_bytes for moved in grid.traffic) for grid in (ours, stock))
    assert sent < dense / 4
