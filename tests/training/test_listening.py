"""Nothing that trains on one machine can be reached from another: what listens, listens on loopback."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch.distributed as dist
from listening import listened, outer_interface, watched

from thinwire.lab.training.joined import NAMES
from thinwire.lab.training.meeting import _alone, _listening

pytest.importorskip("sklearn")
pytestmark = pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="the kernel does not say who listens")
QUICK = ["--limit-rows", "64", "--batch-size", "8", "--epochs", "1"]
TRAIN = ["train", "--compressor", "int8", "--gpus", "0", *QUICK]
COMPARE = ["compare", "--distributed", "--only", "int8", "--seeds", "1", "--gpus", "0", *QUICK]


def started(command: list[str], out: Path, **variables: str) -> subprocess.Popen[str]:
    # Where nothing keeps gloo to loopback, this has it listen where others reach it.
    outer = {"GLOO_SOCKET_IFNAME": outer_interface() or "lo"}
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | outer | variables
    run = [sys.executable, "-m", "thinwire.cli", *command, "--out", str(out)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(run, env=environment, **quiet)  # type: ignore[call-overload,no-any-return]


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(TRAIN, id="train"),
        pytest.param([*TRAIN, "--simulate"], id="simulate"),
        pytest.param(COMPARE, id="compare", marks=pytest.mark.slow),
    ],
)
def test_workers_of_one_machine_listen_on_loopback_only(command: list[str], tmp_path: Path) -> None:
    process = started(command, tmp_path / "run")
    addresses = watched(process)
    assert process.returncode == 0, process.stderr and process.stderr.read()
    assert addresses, "gloo listens somewhere"
    assert all(address.is_loopback for address in addresses), addresses


def test_workers_that_were_started_from_outside_listen_at_the_address_that_was_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = str(found.getsockname()[1])
    places = [dict(zip(NAMES, (rank, "2", rank, "2", "127.0.0.1", port), strict=True)) for rank in ("0", "1")]
    both = [started(TRAIN, tmp_path / "run", **place, GLOO_SOCKET_IFNAME="lo") for place in places]
    addresses = watched(*both)
    assert [process.returncode for process in both] == [0, 0], [each.stderr and each.stderr.read() for each in both]
    assert addresses
    assert all(address.is_loopback for address in addresses), addresses


def test_the_kernel_says_what_torch_s_own_store_listens_on() -> None:
    """All interfaces: so that the tests above can fail."""
    store = dist.TCPStore("127.0.0.1", 0, 1, is_master=True)
    assert any(not address.is_loopback for address in listened(os.getpid()))
    del store


@pytest.mark.parametrize(
    ("local", "address", "alone"),
    [("2", "host", True), ("1", "host", False), ("1", "127.0.0.9", True), ("1", "localhost", True), ("1", "::1", True)],
)
def test_workers_are_alone_where_nobody_else_could_reach_them(local: str, address: str, alone: bool) -> None:
    assert _alone({"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": local, "MASTER_ADDR": address}) == alone


def test_a_name_that_is_loopback_here_only_is_no_address_for_other_machines() -> None:
    with pytest.raises(OSError, match="cannot reach it"):
        _listening("localhost", 0, alone=False)
    with _listening("localhost", 0, alone=True) as listening:
        assert listening.getsockname()[0] in {"127.0.0.1", "::1"}
    with pytest.raises(OSError, match=r"."):
        _listening("192.0.2.77", 0, alone=False)
