"""Run this app in one process: `python -m flower_app.local --nodes 10 hidden=128 uplink="'Uniform(bits=4)'"`."""

from __future__ import annotations

import argparse
import logging
import tomllib
from contextlib import nullcontext
from pathlib import Path

from thinwire.flower.local import LocalGrid, quiet_flwr, run_local

from . import client_app, server_app

PROJECT = Path(__file__).parents[1] / "pyproject.toml"


def main(argv: list[str] | None = None) -> LocalGrid:
    parser = argparse.ArgumentParser(prog="flower_app.local", description=__doc__)
    parser.add_argument("overrides", nargs="*", help="key=value in TOML, as for `flwr run --run-config`")
    parser.add_argument("--nodes", type=int, default=10, help="number of clients (default: 10)")
    parser.add_argument("--config", type=Path, help="a TOML file with overrides")
    parser.add_argument("--verbose", action="store_true", help="show Flower's log")
    args = parser.parse_args(argv)
    config = tomllib.loads(PROJECT.read_text())["tool"]["flwr"]["app"]["config"]
    overrides = tomllib.loads(args.config.read_text()) if args.config else {}
    overrides |= tomllib.loads("\n".join(args.overrides))
    if unknown := set(overrides) - set(config):
        parser.error(f"unknown keys: {', '.join(sorted(unknown))}; pyproject.toml has {', '.join(config)}")
    config |= overrides
    with nullcontext() if args.verbose else quiet_flwr(logging.ERROR):
        return run_local(server_app.app, client_app.app, args.nodes, config)


if __name__ == "__main__":
    grid = main()
    up, down = (sum(t.engine_bytes for t in grid.traffic if t.direction == way) for way in ("up", "down"))
    print(f"engine bytes: {up:,} up, {down:,} down")
