"""The fixed methods of the study at equal bytes, and how each task is run in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from thinwire.lab.config import RunConfig

RATIOS = (32, 64, 128)
AUTO, DENSE = "auto", "dense"
SMALL = "small=Step(nmse=0.02)"
"""Of biases: 4 bits a value at most. Raw they would be more than all of a 128-fold smaller message."""


@dataclass(frozen=True)
class Method:
    """A fixed method: its text with a knob {x} between `low` and `high`, None where there is nothing to turn."""

    name: str
    text: str
    low: float = 0.0
    high: float = 0.0
    whole: bool = False
    ratios: Sequence[int] = RATIOS
    ours: bool = False

    def uplink(self, x: float) -> str:
        """Return the text at a knob."""
        return self.text.replace("{x}", str(round(x)) if self.whole else f"{x:.5g}")


def fed_back(codec: str, decay: float = 1.0) -> str:
    """Return a fixed codec with error feedback."""
    return f"Compressor(Fixed({codec}, {SMALL}), ErrorFeedback({decay:g}))"


def plain(codec: str) -> str:
    """Return a fixed codec without: the unbiased ones, which error feedback would make diverge."""
    return f"Compressor(Fixed({codec}, {SMALL}), NoFeedback())"


METHODS = (
    Method("topk", fed_back("TopK({x}, values=Uniform(bits=8))"), 1e-5, 0.5),
    Method("topk-f32", fed_back("TopK({x})"), 1e-5, 0.5),
    Method("stc", fed_back("TopK({x}, values=Sign())"), 1e-5, 0.9),
    Method("hggtopk", fed_back("HggTopK({x})"), 1e-5, 0.5),
    Method("randomkec", fed_back("RandomK({x}, rescale=False)"), 1e-5, 0.5),
    Method("sparseloco", fed_back("ChunkTopK({x}, 4096, values=Uniform(bits=3, block=64))", 0.95), 1, 2048, True),
    Method("eden-ef", fed_back("Eden(bits={x}, scale='mse')"), 1 / 256, 4),
    Method("eden", plain("Eden(bits={x})"), 1 / 256, 4),
    Method("ef-signsgd", fed_back("Sign()"), ratios=(32,)),
    Method("1bit", fed_back("OneBit()"), ratios=(32,)),
    Method("lowrank", fed_back("LowRank(ratio={x}, bits=6)"), 1e-3, 1.0),
    Method("terngrad", plain("Ternary(clip={x})"), 0.5, 100.0),
    Method("qsgd", plain("Qsgd(levels=1, block={x})"), 16, 1 << 20, True),
    Method("step", fed_back("Step(nmse={x})"), 1e-4, 0.99, ours=True),
    Method("smallest", fed_back("Smallest(nmse={x})"), 1e-4, 0.99, ours=True),
)
BY_NAME = {method.name: method for method in METHODS}


@dataclass(frozen=True)
class Setting:
    """How a task is run here: short enough for many runs, long enough that dense reaches its plateau."""

    base: RunConfig
    screened: int
    seeds: int


def settings(data: Path | None) -> dict[str, Setting]:
    """Return the tasks: five clients each, so that coding does not take longer than training."""
    text = RunConfig("shakespeare", clients=5, rounds=15, partition="by-label(4)", rows=1600, data=data)
    return {
        "digits": Setting(RunConfig("digits", clients=5, rounds=12, data=data), 1, 5),
        "adult": Setting(RunConfig("adult", clients=5, rounds=8, local_epochs=1, rows=8000, data=data), 1, 5),
        "fashion-mnist-mlp": Setting(RunConfig("fashion-mnist-mlp", clients=5, rounds=10, rows=12000, data=data), 1, 3),
        "shakespeare": Setting(text, 1, 2),
    }
