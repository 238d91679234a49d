"""One round by hand, and a client made of one function."""

from __future__ import annotations

from collections.abc import Callable

from conftest import SHAPES
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from thinwire.flower.names import full_name

NAMED = {full_name("arrays", name): shape for name, shape in SHAPES.items()}
"""Shapes of the small model by the names that its tensors have in frames."""


def one_round(grid, arrays: ArrayRecord, round_: int = 1) -> list[Message]:
    content = RecordDict({"arrays": arrays, "config": ConfigRecord({"server-round": round_})})
    return list(grid.send_and_receive([Message(content, node, "train") for node in grid.get_node_ids()]))


def client(behave: Callable[[Message, Context], Message]) -> ClientApp:
    app = ClientApp()
    app.train()(behave)
    return app
