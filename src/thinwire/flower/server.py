"""The server's one line: a ServerApp that hands another a `CompressedGrid`."""

from __future__ import annotations

from typing import Any

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from thinwire.flower.grid import CompressedGrid
from thinwire.flower.ledger import write_ledger
from thinwire.zoo import compressor


class _CompressedServerApp(ServerApp):
    def __init__(self, inner: ServerApp, uplink: object, downlink: object, rounds: int | None, ledger: str) -> None:
        super().__init__()
        self._inner, self._uplink, self._downlink = inner, uplink, downlink
        self._rounds, self._ledger = rounds, ledger

    def __call__(self, grid: Grid, context: Context) -> None:
        config: dict[str, Any] = dict(context.run_config)
        uplink, downlink = config.get("uplink") or self._uplink, config.get("downlink") or self._downlink
        rounds = self._rounds or config.get("num-server-rounds") or 0
        compressed = CompressedGrid(grid, uplink, downlink, int(rounds))
        try:
            self._inner(grid=compressed, context=context)
        finally:
            if path := config.get("ledger") or self._ledger:
                write_ledger(compressed.ledger, str(path))


def compress_server(
    app: ServerApp,
    uplink: object = "auto",
    downlink: object = "auto",
    rounds: int | None = None,
    ledger: str = "",
) -> ServerApp:
    """Return a ServerApp that compresses both directions of whatever ``app`` does, with any strategy.

    ``uplink`` and ``downlink``: see ``CompressedGrid``; the run config's ``uplink``, ``downlink`` and ``ledger``, where
    set, go before these arguments, and its ``num-server-rounds`` stands in for ``rounds``. ``ledger`` names a JSON file
    that is written when the run ends. Raises ValueError on a description that cannot be read.
    """
    compressor(uplink, "up"), compressor(downlink, "down")
    return _CompressedServerApp(app, uplink, downlink, rounds, ledger)
