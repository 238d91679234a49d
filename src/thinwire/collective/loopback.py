"""Ranks that share a machine meet on its loopback: then nobody else can reach the ports that gloo listens on."""

from __future__ import annotations

import hashlib
import os
import socket
from contextlib import suppress
from pathlib import Path

import torch
import torch.distributed as dist

GLOO_INTERFACE = "GLOO_SOCKET_IFNAME"
"""The variable by which a user names the network interfaces that gloo listens on."""
_ADDRESS = "127.0.0.1"
_LOOPBACKS = ("lo", "lo0")
_BOOT, _NETWORK = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/net")


def interface() -> str:
    """Return the name of this machine's loopback interface."""
    there = [name for _, name in socket.if_nameindex()] if hasattr(socket, "if_nameindex") else []
    return next((name for name in _LOOPBACKS if name in there), _LOOPBACKS[0])


def device_of(group: dist.ProcessGroup, tensors_on: torch.device) -> dist.ProcessGroupGloo.Device | None:
    """Return loopback as gloo's device where all ranks of a group share a machine; all of its ranks must call this.

    None, which is gloo's own choice, where they do not, and where the user named an interface. ``tensors_on``: where
    the group takes tensors.
    """
    named = int(GLOO_INTERFACE in os.environ)
    here = _machine()
    told = torch.tensor([here, -here, named], dtype=torch.int64, device=tensors_on)
    dist.all_reduce(told, dist.ReduceOp.MAX, group)
    most, least, any_named = told.tolist()
    if any_named or most != -least:
        return None
    return dist.ProcessGroupGloo.create_device(hostname=_ADDRESS)


def _machine() -> int:
    """Return a number of 63 bits that is the same for processes which reach each other on loopback, and no others.

    Containers of one machine have its boot in common, but not its network.
    """
    known = [socket.gethostname()]
    with suppress(OSError):
        known = [_BOOT.read_text(), os.readlink(_NETWORK)]
    return int.from_bytes(hashlib.blake2b("\n".join(known).encode(), digest_size=8).digest(), "little") >> 1
