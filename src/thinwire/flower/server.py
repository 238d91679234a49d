"""The server's one line: a ServerApp that hands another a `CompressedGrid`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flwr.app import Context
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from thinwire.flower.engine import show_log
from thinwire.flower.grid import CompressedGrid
from thinwire.flower.ledger import write_ledger
from thinwire.flower.update import STATISTICS
from thinwire.zoo import compressor


class _CompressedServerApp(ServerApp):
    """A ServerApp that runs another on a CompressedGrid. What is registered with it is registered with the other."""

    def __init__(self, inner: ServerApp, options: dict[str, Any], ledger: str) -> None:
        super().__init__()
        self._inner, self._options, self._ledger = inner, options, ledger

    def __call__(self, grid: Grid, context: Context) -> None:
        show_log()
        config: dict[str, Any] = dict(context.run_config)
        options = self._options | {name: config[name] for name in ("uplink", "downlink", "exact") if config.get(name)}
        options["rounds"] = int(options["rounds"] or config.get("num-server-rounds") or 0)
        options["share"] = _share(config)
        path = str(config.get("ledger") or self._ledger)
        if path:
            write_ledger([], path)  # a folder that is not there is found before the training, not after it
        compressed = CompressedGrid(grid, **options)
        try:
            self._inner(grid=compressed, context=context)
        finally:
            compressed.finish()
            if path:
                write_ledger(compressed.ledger, path)
        if reason := compressed.rounds_log.all_failed:
            raise RuntimeError(f"thinwire: every client failed in every round, most often so: {reason}")

    def main(self) -> Callable[..., Any]:
        """Register the main function with the app inside."""
        return self._inner.main()

    def lifespan(self) -> Callable[..., Any]:
        """Register the lifespan function with the app inside."""
        return self._inner.lifespan()


def _share(config: dict[str, Any]) -> float:
    """Return the share of clients that train in a round, by the names that Flower's examples give it; else all."""
    named = (value for key, value in config.items() if key.rsplit(".", 1)[-1] in ("fraction-train", "fraction-fit"))
    return next((float(value) for value in named if isinstance(value, int | float) and 0 < value <= 1), 1.0)


def compress_server(
    app: ServerApp,
    uplink: object = "auto",
    downlink: object = "auto",
    rounds: int | None = None,
    ledger: str = "",
    exact: str = STATISTICS,
) -> ServerApp:
    """Return a ServerApp that compresses both directions of whatever ``app`` does, with any strategy.

    ``uplink``, ``downlink`` and ``exact``: see ``CompressedGrid``; the run config's ``uplink``, ``downlink``, ``exact``
    and ``ledger``, where set, go before these arguments, and its ``num-server-rounds`` stands in for ``rounds``.
    ``ledger`` names a JSON file that is written when the run ends. Works as a decorator's target before or after
    ``@app.main()``.

    Raises:
        TypeError: ``app`` is no ServerApp.
        ValueError: a description that cannot be read, or an app that is wrapped already.
    """
    if isinstance(app, _CompressedServerApp):
        raise ValueError("this ServerApp is compressed already: call compress_server once")
    given: object = app
    if not isinstance(given, ServerApp):
        hint = "; a ClientApp goes to compress_client" if isinstance(given, ClientApp) else ""
        raise TypeError(f"compress_server takes a ServerApp, got {type(app).__name__}{hint}")
    compressor(uplink, "up"), compressor(downlink, "down")
    options = {"uplink": uplink, "downlink": downlink, "rounds": rounds, "exact": exact}
    return _CompressedServerApp(app, options, ledger)
