"""The server: an ordinary ServerApp, and one line for thinwire."""

from __future__ import annotations

import json
import time
from pathlib import Path

from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from thinwire.flower import compress_server

from . import task

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    config, rounds, data = context.run_config, [], task.load_test()
    model = task.make_model(config["hidden"])

    def evaluate(server_round: int, arrays: ArrayRecord) -> MetricRecord:
        model.load_state_dict(arrays.to_torch_state_dict())
        accuracy, loss = task.test(model, data)
        rounds.append({"round": server_round, "accuracy": accuracy, "loss": loss, "time_s": time.time()})
        return MetricRecord({"accuracy": accuracy, "loss": loss})

    FedAvg(fraction_train=config["fraction-train"], fraction_evaluate=config["fraction-evaluate"]).start(
        grid, ArrayRecord(model.state_dict()), config["num-server-rounds"], timeout=900, evaluate_fn=evaluate
    )
    if config["metrics"]:
        Path(config["metrics"]).write_text(json.dumps({"rounds": rounds}, indent=1))


# The run config's `uplink`, `downlink` and `ledger`, where set, go before these arguments.
app = compress_server(app, uplink="auto", downlink="auto")
