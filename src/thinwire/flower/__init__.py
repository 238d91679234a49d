"""Compression for Flower: one line for a ClientApp, one for a ServerApp, any strategy unchanged."""

from thinwire.flower.versions import explain, warn_if_untested

try:
    from thinwire.flower.client import compress_client, compression_mod
    from thinwire.flower.grid import CompressedGrid
    from thinwire.flower.ledger import Transfer, write_ledger
    from thinwire.flower.local import LocalGrid, Traffic, fixed_sampling, quiet_flwr, run_local
    from thinwire.flower.server import compress_server
except ImportError as error:
    explain(error)
    raise
warn_if_untested()

__all__ = [
    "CompressedGrid",
    "LocalGrid",
    "Traffic",
    "Transfer",
    "compress_client",
    "compress_server",
    "compression_mod",
    "fixed_sampling",
    "quiet_flwr",
    "run_local",
    "write_ledger",
]
