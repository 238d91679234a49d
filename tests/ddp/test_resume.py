"""What a checkpoint holds of the compression: all that the next step needs."""

from __future__ import annotations

import pytest
import resumes
import torch
from ranks import Ranks

from thinwire.ddp.state import Memory, loaded, saved


@pytest.mark.parametrize(
    ("name", "world"), [("mixed", 2), *((name, 3) for name in ("topk", "powersgd", "dgc", "qsgd", "mixed"))]
)
def test_a_resumed_run_is_the_run(ranks: Ranks, name: str, world: int) -> None:
    found = ranks.run(resumes.save, name, 6, world=world)
    states = [state for _, state, _ in found]
    resumed = ranks.run(resumes.resume, name, 6, found[0][0], states, world=world)
    assert resumed == [digest for *_, digest in found]


def test_fewer_ranks_go_on_from_more(ranks: Ranks) -> None:
    found = ranks.run(resumes.save, "topk", 3)
    states = [state for _, state, _ in found]
    resumed = ranks.run(resumes.resume, "topk", 6, found[0][0], states, world=2)
    assert resumed[0] == resumed[1]


def memory(rank: int) -> Memory:
    generator = torch.Generator().manual_seed(rank)
    kept = {
        "a/w": {"residual": torch.randn(3, 4, generator=generator), "velocity": torch.randn(3, 4, generator=generator)}
    }
    if rank % 2:
        kept["b"] = {"residual": torch.randn(5, generator=generator)}
    return Memory(kept, {"a/w": {"right": torch.full((2,), float(rank))}})


@pytest.mark.parametrize("old", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("new", [1, 2, 3, 5, 8])
def test_another_number_of_ranks_keeps_the_mean_of_what_was_not_sent(old: int, new: int) -> None:
    states = [saved(memory(rank), 9, old, rank) for rank in range(old)]
    taken = [loaded(states, rank, new) for rank in range(new)]
    assert {step for _, step in taken} == {9}
    for path in {path for state in states for path in state if path.startswith(("residual", "velocity"))}:
        before = sum(state.get(path, torch.zeros(1)).double() for state in states) / old
        after = sum(x.flat().get(path, torch.zeros(1)).double() for x, _ in taken) / new
        torch.testing.assert_close(before, after, atol=1e-6, rtol=1e-5)
    for rank, (got, _) in enumerate(taken):
        assert got.histories["a/w"]["right"].tolist() == [rank % old] * 2


def test_states_go_there_and_back() -> None:
    assert Memory.of(memory(1).flat()).flat().keys() == memory(1).flat().keys()
    alone, step = loaded([saved(memory(1), 4, 2, 1)], 1, 2)
    assert step == 4
    assert all(torch.equal(x, memory(1).flat()[key]) for key, x in alone.flat().items())


def test_states_that_do_not_fit_are_refused() -> None:
    first, second = saved(memory(0), 4, 2, 0), saved(memory(1), 4, 2, 1)
    with pytest.raises(ValueError, match="needs the state of rank 1 of 2"):
        loaded([first], 1, 2)
    with pytest.raises(ValueError, match="needs the state of rank 1 of 2"):
        loaded([first], 0, 1)
    with pytest.raises(ValueError, match="give those of one save"):
        loaded([first, {**second, "step": torch.tensor(5)}], 0, 1)
