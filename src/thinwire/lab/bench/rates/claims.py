"""What the documents promise of these figures, and whether it held."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

ORDER0 = {"mlp-sgd": 1.25, "cnn-sgd": 1.25, "cnn-adamw": 1.2, "gpt-sgd": 1.08}
ORDER0_ERRORS = ("0.1", "0.01")
EVER = 1 / 1.02
TOPK = {"0.3": 6.0, "0.1": 8.0, "0.01": 8.0, "0.001": 8.0}
INT8 = {"mlp-sgd": 2.3, "cnn-sgd": 2.3}
MLP_BITS = 0.75
SPARSELOCO_BITS = 0.15
LARGE = 100_000
"""Of fewer elements, a frame's header is what is measured."""


@dataclass(frozen=True)
class Claim:
    """A figure, and what it has to be at least, or at most."""

    what: str
    case: str
    value: float
    least: float | None = None
    most: float | None = None

    @property
    def held(self) -> bool:
        """Whether it is so."""
        return (self.least is None or self.value >= self.least) and (self.most is None or self.value <= self.most)


def claims(figures: Mapping[str, Any], sparseloco: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return every claim that was measured, as JSON has it."""
    found = [claim for name, case in figures.items() for claim in _of_case(name, case)]
    found += [
        Claim("SparseLoCo's payload, bits an element", row["case"], row["bits"], most=SPARSELOCO_BITS)
        for row in sparseloco
        if row["values"] == "2-bit" and row["elements"] >= LARGE
    ]
    return [asdict(claim) | {"held": claim.held} for claim in found]


def _of_case(name: str, case: Mapping[str, Any]) -> Iterator[Claim]:
    for error, at in case.items():
        if error != "fixed":
            yield from _of_error(name, error, at)
    for row in case["fixed"]:
        if row["times"] is not None:
            yield Claim(f"{row['method']} / ours at its NMSE", name, row["times"], least=1.0)
            if row["method"] == "int8 min-max" and name in INT8:
                yield Claim("int8 min-max / ours at its NMSE", name, row["times"], least=INT8[name])


def _of_error(name: str, error: str, at: Mapping[str, Any]) -> Iterator[Claim]:
    if "ratio" in at:
        yield Claim(f"ours / best rival at NMSE {error}", name, at["ratio"], most=1.0)
    if "order0" in at and error in ORDER0_ERRORS:
        yield Claim(f"order-0 entropy / ours at NMSE {error}", name, at["order0"], least=ORDER0.get(name, EVER))
    if "topk" in at and error in TOPK:
        yield Claim(f"top-k pairs / ours at NMSE {error}", name, at["topk"], least=TOPK[error])
    if name == "mlp-sgd" and error == "0.1":
        yield Claim("bits an element at NMSE 0.1", name, at["ours"]["bits"], most=MLP_BITS)
