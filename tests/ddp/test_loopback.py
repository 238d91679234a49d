"""What a link listens on: loopback where all ranks share a machine, unless the user named an interface."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from listening import listened, outer_interface
from ranks import Ranks
from torch._C._distributed_c10d import HashStore

from thinwire.collective import TorchLink
from thinwire.collective.loopback import GLOO_INTERFACE, device_of, interface

pytestmark = pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="the kernel does not say who listens")
CPU = torch.device("cpu")


@pytest.fixture
def outer(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A group of one rank that listens where others reach it, as most machines' own names lead there."""
    named = outer_interface()
    if named is None:
        pytest.skip("nobody can reach this machine")
    monkeypatch.setenv(GLOO_INTERFACE, named)
    dist.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    yield named
    dist.destroy_process_group()


def added(group: Any) -> set[Any]:
    """Return the addresses that a link adds to what its group listens on."""
    before = listened(os.getpid())
    link = TorchLink.beside(group)
    found = listened(os.getpid()) - before
    del link
    return found


def test_a_link_of_one_machine_is_on_loopback(outer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(GLOO_INTERFACE)
    found = added(dist.group.WORLD)
    assert [address.is_loopback for address in found] == [True]


def test_a_link_is_where_the_user_said(outer: str) -> None:
    assert not added(dist.group.WORLD)  # where the group is, too
    assert device_of(dist.group.WORLD, CPU) is None


def both(group: Any, elsewhere: int) -> tuple[bool, bool]:
    """Return whether a link of these ranks is on loopback, as it is and where one were on another machine."""
    from thinwire.collective import loopback

    named = os.environ.pop(GLOO_INTERFACE)
    machine = loopback._machine
    try:
        here = device_of(group, CPU)
        loopback._machine = lambda: machine() ^ (dist.get_rank(group) == elsewhere)
        return here is not None, device_of(group, CPU) is not None
    finally:
        loopback._machine, os.environ[GLOO_INTERFACE] = machine, named


def own(group: Any) -> list[bool]:
    link = TorchLink.beside(group)
    return [address.is_loopback for address in listened(os.getpid())] + [link.world == dist.get_world_size(group)]


@pytest.mark.parametrize("elsewhere", [0, 2])
def test_ranks_of_several_machines_choose_alike(ranks: Ranks, elsewhere: int) -> None:
    assert ranks.run(both, elsewhere) == [(True, False)] * 3


def test_the_ranks_of_these_tests_are_on_loopback(ranks: Ranks) -> None:
    for found in ranks.run(own):
        assert len(found) >= 2
        assert all(found)


def test_the_loopback_interface_is_there() -> None:
    assert not (Path("/sys/class/net") / interface() / "device").exists()
    assert interface() in os.listdir("/sys/class/net")
