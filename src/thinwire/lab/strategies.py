"""Flower's strategies by name, with numbers: `FedAvg`, `FedAvgM(server_momentum=0.9)`, `FedProx(proximal_mu=0.1)`."""

from __future__ import annotations

import ast
import inspect
import logging
from dataclasses import dataclass, field
from typing import Any

from flwr.serverapp import strategy as flwr_strategies
from flwr.serverapp.strategy import Strategy

from thinwire.errors import unknown
from thinwire.flower import quiet_flwr

NAMES = (
    *("FedAvg", "FedAvgM", "FedAdagrad", "FedAdam", "FedYogi", "FedProx"),
    *("FedMedian", "FedTrimmedAvg", "Krum", "MultiKrum", "Bulyan"),
)
"""Those that average arrays and need nothing but numbers."""
_MOST = 1e300


@dataclass(frozen=True)
class StrategySpec:
    """A strategy of Flower and the numbers it was given."""

    name: str
    arguments: dict[str, float] = field(default_factory=dict)

    def build(self, clients: int, fraction_train: float) -> Strategy:
        """Return a new strategy for so many clients; they train and do not evaluate, the server does that."""
        nodes = {"fraction_evaluate": 0.0, "min_train_nodes": 1, "min_available_nodes": clients}
        kind: type[Strategy] = getattr(flwr_strategies, self.name)
        return kind(fraction_train=fraction_train, **nodes, **self.arguments)  # type: ignore[call-arg]


def strategy(text: str) -> StrategySpec:
    """Read a strategy. Raises ValueError that names what is unknown, the nearest match and what is possible."""
    name, arguments = _parts(text)
    if name not in NAMES:
        raise ValueError(unknown("strategy", name, NAMES))
    known = _numbers(name)
    for key, value in arguments.items():
        if key not in known:
            raise ValueError(f"{name}: " + unknown("argument", key, known))
        if isinstance(value, bool) or not isinstance(value, int | float) or not -_MOST < value < _MOST:
            raise ValueError(f"{name}: {key} is {value!r}, expected a number that is finite")
    found = StrategySpec(name, arguments)
    try:
        with quiet_flwr(logging.ERROR):
            found.build(clients=2, fraction_train=1.0)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    return found


def _numbers(name: str) -> list[str]:
    """Return the arguments that are numbers and that the lab does not set itself."""
    parameters = inspect.signature(getattr(flwr_strategies, name)).parameters
    own = ("fraction_", "min_")
    return [p for p, about in parameters.items() if _is_number(about.default) and not p.startswith(own)]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _parts(text: str) -> tuple[str, dict[str, Any]]:
    try:
        node = ast.parse(text.strip(), mode="eval").body
        if isinstance(node, ast.Name):
            return node.id, {}
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.args:
            return node.func.id, {str(k.arg): ast.literal_eval(k.value) for k in node.keywords}
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        pass
    raise ValueError(f"cannot read the strategy {text!r}; expected something like 'FedAvgM(server_momentum=0.9)'")
