"""How many elements each rule sends, and which: on real-looking, degenerate and hostile tensors, in every dtype."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from thinwire import MSTopK, ReusedThreshold, SIDCo, decode, encode, parse
from thinwire.codec import generator
from thinwire.codecs.sparse.pairs import Sparsifier, kept_count

FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
DENSITIES = (0.001, 0.01, 0.05, 0.5)
RULES = {
    "SIDCo({})": (0.8, 1.2),
    "SIDCo({}, model='gamma')": (0.8, 1.2),
    "SIDCo({}, model='pareto', stages=2, tolerance=0.1)": (0.9, 1.1),
    "MSTopK({})": (1.0, 1.0),
    "MSTopK({}, probes=3)": (1.0, 1.0),
    "ReusedThreshold({})": (2 / 3, 4 / 3),
    "ReusedThreshold({}, refresh=2, tolerance=0.1)": (0.9, 1.1),
}


def drawn(name: str, n: int, seed: int = 0) -> Tensor:
    """Return n float64 numbers of one kind."""
    g = generator(seed)
    normal = torch.randn(n, generator=g, dtype=torch.float64)
    if name == "t3":
        return normal / torch.randn(3, n, generator=g, dtype=torch.float64).square().mean(0).sqrt()
    if name == "embedding":
        rows = torch.rand(-(-n // 64), generator=g) < 0.05
        return normal * rows.repeat_interleave(64)[:n]
    if name == "laplace":
        return normal.sign() * -torch.rand(n, generator=g, dtype=torch.float64).clamp(min=1e-12).log()
    other = {
        "normal": normal,
        "constant": torch.full((n,), -0.3, dtype=torch.float64),
        "zeros": torch.zeros(n, dtype=torch.float64),
        "one hot": torch.nn.functional.one_hot(torch.tensor(n // 2), n).double(),
        "ties": normal.round(),
        "mostly zeros": torch.where(normal > 1.645, normal, 0.0),
        "denormal": normal * 1e-44,
        "outlier": torch.where(torch.arange(n) == 7, 6e4, normal * 1e-3),
        "ramp": torch.arange(n, dtype=torch.float64) / n,
    }
    return other[name]


KINDS = (
    "normal", "laplace", "t3", "embedding", "constant", "zeros", "one hot", "ties", "mostly zeros", "denormal",
    "outlier", "ramp",
)  # fmt: skip


def check(rule: str, density: float, x: Tensor, selected: Tensor) -> None:
    """The number is what the rule states, and nothing larger was left behind than what it may leave."""
    n, k = x.numel(), kept_count(density, x.numel())
    least, most = RULES[rule]
    assert least * k <= selected.numel() <= most * k
    assert selected.dtype == torch.int64
    assert bool((selected.diff() > 0).all())
    assert 0 <= int(selected[0]) <= int(selected[-1]) < n
    magnitudes = x.double().abs()
    smallest_sent = float(magnitudes[selected].min())
    rank = min(2 * k, n) if rule.startswith("MSTopK") else selected.numel()
    assert smallest_sent >= float(magnitudes.sort(descending=True).values[rank - 1])


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_sent_is_stated_in_number_and_size(rule: str, kind: str) -> None:
    for density in DENSITIES:
        codec = parse(rule.format(density))
        for dtype, n in ((torch.float32, 20_000), (torch.float32, 3000), *((dtype, 17_000) for dtype in FLOATS[1:])):
            x = drawn(kind, n).to(dtype)
            selected, history = codec.select(x, 1, {})
            check(rule, density, x, selected)
            check(rule, density, x * 2, codec.select(x * 2, 1, history)[0])


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_a_handful_of_elements(rule: str, n: int) -> None:
    for density in (0.001, 0.5, 0.99, 1.0):
        x = drawn("normal", n)
        check(rule, density, x, parse(rule.format(density)).select(x, 0, {})[0])


@pytest.mark.parametrize("rule", RULES)
def test_all_of_them_and_just_one(rule: str) -> None:
    for kind in ("normal", "ties", "constant", "zeros"):
        x = drawn(kind, 20_000)
        everything, _ = parse(rule.format(1.0)).select(x, 0, {})
        assert torch.equal(everything, torch.arange(20_000))
        check(rule, 1e-9, x, parse(rule.format(1e-9)).select(x, 0, {})[0])


@pytest.mark.parametrize("rule", [*RULES, "ChunkTopK({})", "AdaComp({})"])
def test_an_empty_tensor(rule: str) -> None:
    codec: Sparsifier = parse(rule.format(1))
    indices, history = codec.select(torch.zeros(0), 0, {})
    assert not indices.numel()
    assert not codec.select(torch.zeros(0), 0, history)[0].numel()


@pytest.mark.parametrize(
    "text", ["SIDCo(0.001)", "MSTopK(0.001)", "ReusedThreshold(0.001)", "ChunkTopK(4)", "AdaComp(5000)"]
)
def test_more_than_2_to_the_24_elements_most_of_them_alike(text: str) -> None:
    n = (1 << 24) + 4099
    x = torch.full((n,), 1e-3, dtype=torch.float16)
    x[::5000] = -2.0
    sent = decode(encode(parse(text), x))
    assert bool((sent[::5000] == -2.0).all())
    assert int(sent.count_nonzero()) <= n // 500


@pytest.mark.parametrize("rule", list(RULES)[:5])
def test_error_feedback_keeps_the_number(rule: str) -> None:
    for kind in ("normal", "laplace", "t3", "embedding"):
        codec, residual, history = parse(rule.format(0.01)), torch.zeros(20_000), {}
        for step in range(20):
            residual += drawn(kind, 20_000, seed=step).float()
            selected, history = codec.select(residual, step, history)
            check(rule, 0.01, residual, selected)
            residual[selected] = 0


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: SIDCo(0.0), "density is 0.0"),
        (lambda: SIDCo(0.1, model="normal"), "unknown model 'normal'"),  # type: ignore[arg-type]
        (lambda: SIDCo(0.1, stages=0), "stages is 0"),
        (lambda: SIDCo(0.1, tolerance=1.0), "tolerance is 1.0"),
        (lambda: MSTopK(2.0), "density is 2.0"),
        (lambda: MSTopK(0.1, probes=65), "probes is 65"),
        (lambda: ReusedThreshold(math.nan), "density is nan"),
        (lambda: ReusedThreshold(0.1, refresh=0), "refresh is 0"),
        (lambda: ReusedThreshold(0.1, tolerance=-0.1), "tolerance is -0.1"),
        (lambda: parse("ChunkTopK(5, 4)"), "keep is 5, expected 1 to chunk, which is 4"),
        (lambda: parse("ChunkTopK(1, 0)"), "chunk is 0"),
        (lambda: parse("AdaComp(0)"), "bin is 0"),
    ],
)
def test_impossible_fields_say_what_is_possible(build: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()  # type: ignore[operator]
