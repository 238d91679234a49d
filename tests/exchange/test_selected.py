"""What sparse codecs selected is counted from what they encoded: as many as are not zero in what was contributed."""

from __future__ import annotations

import pytest
import torch

from thinwire import parse
from thinwire.codec import encode_with_history
from thinwire.exchange.selected import NOTHING, Selected, selected
from thinwire.exchange.simulate import Name, simulated
from thinwire.testing.tensors import suited


def counts(text: str, exchange: Name, world: int = 3, shape: tuple[int, ...] = (97, 31)) -> list[Selected]:
    """Return every rank's count, after checking it against what the rank contributed."""
    given = [{"x": suited("update", shape, seed=rank)} for rank in range(world)]
    averages = [done["x"] for done in simulated(given, parse(text), 5, exchange=exchange).averages]
    if exchange != "two-shot":  # there the mean of a shard is encoded again, and counts as contributed
        assert [x.selected.kept for x in averages] == [int(x.contributed.count_nonzero()) for x in averages]
    return [x.selected for x in averages]


@pytest.mark.parametrize("text", ["TopK(0.01)", "TopK(0.01, values=Sign())", "MSTopK(0.03)", "RandomK(0.1)"])
def test_exact_rules_keep_what_is_wanted(text: str) -> None:
    numel, density = 97 * 31, parse(text).density
    assert counts(text, "gather") == [Selected(int(density * numel), int(density * numel))] * 3


@pytest.mark.parametrize("text", ["HggTopK(0.02)", "Gaussian(0.02)", "RedSync(0.02)", "DGCSampling(0.02)"])
def test_approximate_rules_keep_what_they_keep(text: str) -> None:
    for count in counts(text, "gather"):
        assert count.wanted == int(0.02 * 97 * 31)
        assert 0 < count.kept <= 4 * count.wanted


def test_of_a_sum_each_rank_counts_its_own() -> None:
    assert counts("RandomK(0.1)", "sum") == [Selected(300, 300)] * 3


def test_shards_ask_each_for_their_own_and_the_second_shot_is_not_counted() -> None:
    rows = (33, 32, 32)  # of 31 elements
    assert sorted(x.kept for x in counts("TopK(0.01)", "two-shot")) == [sum(int(0.01 * r * 31) for r in rows)] * 3


@pytest.mark.parametrize("text", ["ChunkTopK(4, 256)", "Threshold(0.001)", "AdaComp(100)"])
def test_a_rule_without_a_density_asks_for_what_it_selects(text: str) -> None:
    assert all(0 < x.kept == x.wanted for x in counts(text, "gather"))


@pytest.mark.parametrize("text", ["Raw()", "Uniform(bits=8)", "LowRank(rank=2)", "Cast()"])
def test_what_is_not_sparse_is_not_counted(text: str) -> None:
    assert counts_of(text, suited("update", (40, 30))) == NOTHING


def test_what_is_sent_whole_is_all_kept() -> None:
    assert counts_of("TopK(1.0)", torch.arange(1.0, 65.0)) == Selected(64, 64)
    tiny = torch.full((64,), torch.finfo(torch.float32).tiny)
    assert counts_of("TopK(0.25)", tiny) == Selected(64, 16)
    assert counts_of("TopK(0.25)", torch.empty(0)) == NOTHING
    assert counts_of("TopK(0.25)", torch.zeros(8)) == Selected(2, 2)


def counts_of(text: str, x: torch.Tensor) -> Selected:
    codec = parse(text)
    return selected(codec, encode_with_history(codec, x, 0, {})[0])
