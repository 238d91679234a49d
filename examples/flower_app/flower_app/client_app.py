"""The client: an ordinary ClientApp, and one line for thinwire."""

from __future__ import annotations

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from thinwire.flower import compress_client

from . import task

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    partition, round_ = context.node_config["partition-id"], message.content["config"]["server-round"]
    model = task.make_model(context.run_config["hidden"])
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    data = task.load_partition(partition, context.node_config["num-partitions"])
    loss = task.train(model, data, context.run_config["local-epochs"], seed=1000 * round_ + partition)
    metrics = MetricRecord({"train-loss": loss, "num-examples": len(data[1])})
    return Message(RecordDict({"arrays": ArrayRecord(model.state_dict()), "metrics": metrics}), reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    model = task.make_model(context.run_config["hidden"])
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    data = task.load_partition(context.node_config["partition-id"], context.node_config["num-partitions"])
    accuracy, loss = task.test(model, data)
    metrics = MetricRecord({"accuracy": accuracy, "loss": loss, "num-examples": len(data[1])})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)


app = compress_client(app)
