"""How parameters lie in memory changes nothing, and complex ones are two real ones."""

from __future__ import annotations

from itertools import permutations

import layouts
import pytest
import torch
from ranks import Raised, Ranks

from thinwire.ddp.layout import is_dense

SOME = [
    "none", "powersgd", "hggtopk", "int8", "dgc", "mixed", "Uniform(bits=8, block='channel')",
    "ByteBudget(ratio=8, codec=Step())",
]  # fmt: skip
MOVES = [layouts.transposed, layouts.channels_last, layouts.permuted, layouts.sparse]
NAMES = [pytest.param(SOME, id="some"), pytest.param(layouts.methods(), id="all", marks=pytest.mark.slow)]


def whole(found: list) -> list:
    assert not [rank.where for rank in found if isinstance(rank, Raised)]
    return found


@pytest.mark.parametrize("names", NAMES)
@pytest.mark.parametrize("world", [2, 3])
def test_gradients_are_read_in_the_order_of_their_dimensions(ranks: Ranks, names: list[str], world: int) -> None:
    settings = {"use_pipeline": world == 2}
    for found in whole(ranks.run(layouts.alike, names, [layouts.mixed], settings, world=world, wait_s=600)):
        assert {name: same for name, same in found.items() if same != [True]} == {}


@pytest.mark.parametrize(
    "settings", [{"gradient_as_bucket_view": True}, {"find_unused_parameters": True}, {"static_graph": True}]
)
def test_settings_of_ddp_change_nothing_of_it(ranks: Ranks, settings: dict[str, bool]) -> None:
    for found in whole(ranks.run(layouts.alike, ["powersgd"], MOVES, settings, world=2)):
        assert found == {"powersgd": [True] * len(MOVES)}


@pytest.mark.parametrize("settings", [{}, {"gradient_as_bucket_view": True}, {"find_unused_parameters": True}])
def test_parameters_may_move_after_the_wrap(ranks: Ranks, settings: dict[str, bool]) -> None:
    """DDP's buckets keep the order that parameters had, until it makes them anew."""
    for before, after in permutations((layouts.plain, layouts.transposed, layouts.permuted), 2):
        assert whole(ranks.run(layouts.moved_late, before, after, settings, world=2)) == [True, True]


@pytest.mark.parametrize("saved", [layouts.plain, layouts.transposed])
def test_what_was_kept_in_one_layout_goes_on_in_another(ranks: Ranks, saved: layouts.Move) -> None:
    for now in (layouts.plain, layouts.transposed, layouts.channels_last):
        assert whole(ranks.run(layouts.loaded, saved, now, world=2)) == [True, True]


@pytest.mark.parametrize("names", NAMES)
def test_complex_parameters_are_two_real_ones(ranks: Ranks, names: list[str]) -> None:
    for found in whole(ranks.run(layouts.complex_alike, names, "transposed", torch.complex64, {}, wait_s=600)):
        assert {name for name, same in found.items() if not same} == set()


@pytest.mark.parametrize("settings", [{"gradient_as_bucket_view": True}, {"find_unused_parameters": True}])
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_complex_parameters_under_other_settings(ranks: Ranks, dtype: torch.dtype, settings: dict[str, bool]) -> None:
    for found in whole(ranks.run(layouts.complex_alike, ["none", "int8"], "complex", dtype, settings, world=2)):
        assert found == {"none": True, "int8": True}


def test_dense_is_each_element_once_in_any_order() -> None:
    x = torch.zeros(3, 4, 5)
    for one in (x, x.mT, x.permute(1, 2, 0), x[:1], x[:, :1, :1], x[0, 0, :1], torch.zeros(()), x.mT[:, :1]):
        like = torch.empty_like(one)
        assert is_dense(one) == (like.numel() < 2 or one.stride() == like.stride()), one
    for other in (x[:, ::2], x[..., 0], x[:1].expand(3, 4, 5), x[:, :3], torch.zeros(9).as_strided((3, 3), (2, 1))):
        assert not is_dense(other)
