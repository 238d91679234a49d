"""Columns as they are, into BatchNorm, names lost on the way: what the default once took from 80 % to chance."""

from __future__ import annotations

import pytest
import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from torch import Tensor, nn

from thinwire.flower import compress_client, compress_server, run_local

SPREADS = torch.tensor([13.0, 105000.0, 2.5, 7300.0, 402.0, 12.0, 1e-3, 0.3])
MEANS = torch.tensor([38.0, 191000.0, 10.0, 954.0, 83.0, 40.0, 2e-3, 1.0])
CLIENTS, ROWS, ROUNDS = 3, 96, 4


def rows(part: int) -> tuple[Tensor, Tensor]:
    noise = torch.Generator().manual_seed(part)
    x = torch.randn(ROWS, len(SPREADS), generator=noise)
    return x * SPREADS + MEANS, (x.sum(1) > 0).float()


def model() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.BatchNorm1d(len(SPREADS)), nn.Linear(len(SPREADS), 1))


def loaded(arrays: ArrayRecord) -> nn.Module:
    """Return the model, by place, as a client of nameless arrays does."""
    made = model()
    made.load_state_dict(
        {k: torch.from_numpy(v) for k, v in zip(made.state_dict(), arrays.to_numpy_ndarrays(), strict=True)}
    )
    return made


def nameless(made: nn.Module) -> ArrayRecord:
    return ArrayRecord([value.numpy() for value in made.state_dict().values()])


def train(message: Message, context: Context) -> Message:
    made = loaded(message.content.array_records["arrays"])
    x, y = rows(int(context.node_config["partition-id"]))
    optimizer = torch.optim.SGD(made.parameters(), lr=0.5)
    for start in range(0, ROWS, 16):
        optimizer.zero_grad()
        batch = slice(start, start + 16)
        nn.functional.binary_cross_entropy_with_logits(made(x[batch])[:, 0], y[batch]).backward()
        optimizer.step()
    metrics = MetricRecord({"num-examples": ROWS})
    return Message(RecordDict({"arrays": nameless(made), "metrics": metrics}), reply_to=message)


def final(uplink: str | None, downlink: str | None) -> dict[str, Tensor]:
    """Return the last global model of a federation, compressed or (None) as it is."""
    server, client, kept = ServerApp(), ClientApp(), list[ArrayRecord]()
    client.train()(train)

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=CLIENTS, min_available_nodes=CLIENTS)
        kept.append(strategy.start(grid, nameless(model()), num_rounds=ROUNDS).arrays)

    if uplink and downlink:
        run_local(compress_server(server, uplink=uplink, downlink=downlink), compress_client(client), CLIENTS)
    else:
        run_local(server, client, CLIENTS)
    return loaded(kept[0]).state_dict()


@pytest.fixture(scope="module")
def stock() -> dict[str, Tensor]:
    return final(None, None)


@pytest.mark.parametrize(("uplink", "downlink"), [("auto", "auto"), ("none", "auto"), ("auto", "none")])
def test_statistics_without_a_name_end_where_stock_ends(stock: dict[str, Tensor], uplink: str, downlink: str) -> None:
    found = final(uplink, downlink)
    for name in ("0.running_mean", "0.running_var"):
        apart = (found[name] - stock[name]).abs()
        # A mean counts in units of its column's spread, and is right to half a per cent of its own in any case.
        assert bool((apart <= 0.03 * stock["0.running_var"].sqrt() + 0.005 * stock[name].abs()).all()), (name, apart)
    assert bool((found["0.running_var"] > 0).all())
    x, _ = rows(77)
    outputs = []
    for state in (stock, found):
        made = model()
        made.load_state_dict(state)
        with torch.no_grad():
            outputs.append(made.eval()(x)[:, 0])
    assert bool(torch.isfinite(outputs[1]).all())
    assert float(((outputs[0] > 0) == (outputs[1] > 0)).float().mean()) > 0.9
