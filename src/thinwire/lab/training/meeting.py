"""How workers find each other, and what they listen on: one machine needs no port that anybody else can reach.

torch's rendezvous over TCP listens on all interfaces, and takes what is written into its store from whoever connects.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

import torch.distributed as dist
from torch._C._distributed_c10d import FileStore, Store, TCPStore

from thinwire.collective.loopback import GLOO_INTERFACE, interface

_NCCL_INTERFACE = "NCCL_SOCKET_IFNAME"
_AGENT = "TORCHELASTIC_USE_AGENT_STORE"
"""Set where torchrun itself holds the store that workers meet in."""


def loopback_only() -> dict[str, str]:
    """Return the variables that keep the transports of workers on one machine to its loopback interface."""
    return dict.fromkeys((GLOO_INTERFACE, _NCCL_INTERFACE), interface())


def meet(backend: str, file: Path | None) -> None:
    """Make the process group of all workers, as RANK and WORLD_SIZE say; they meet in ``file``, which no other user may
    write to, or at MASTER_ADDR and MASTER_PORT."""
    if file is not None:
        _meet(backend, FileStore(str(file), int(os.environ["WORLD_SIZE"])))
        return
    if _alone(os.environ):
        for name, value in loopback_only().items():
            os.environ.setdefault(name, value)
    store = None if os.environ.get(_AGENT) == "True" else _store_at(os.environ)
    if store is None:
        dist.init_process_group(backend)
    else:
        _meet(backend, store)


def _meet(backend: str, store: Store) -> None:
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    dist.init_process_group(backend, store=store, rank=rank, world_size=world)


def _alone(environment: Mapping[str, str]) -> bool:
    """Return whether all workers are on this machine."""
    return environment["LOCAL_WORLD_SIZE"] == environment["WORLD_SIZE"] or _is_loopback(environment["MASTER_ADDR"])


def _is_loopback(address: str) -> bool:
    """Return whether an address, as it is written, is this machine's alone: a name may mean another elsewhere."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _store_at(environment: Mapping[str, str]) -> Store | None:
    """Return the store at MASTER_ADDR. The first worker holds it and listens on that address only, where torch's own
    would on all; None where the address is not one of this machine's, as behind a load balancer.
    """
    host, port = environment["MASTER_ADDR"], int(environment["MASTER_PORT"])
    world, timeout = int(environment["WORLD_SIZE"]), dist.default_pg_timeout
    if environment["RANK"] != "0":
        return TCPStore(host, port, world, is_master=False, timeout=timeout)
    try:
        listening = _listening(host, port, alone=_alone(environment))
    except OSError as error:
        print(f"listening on all interfaces, port {port}: not on MASTER_ADDR {host} alone: {error}", file=sys.stderr)
        return None
    return TCPStore(
        host, port, world, is_master=True, timeout=timeout, multi_tenant=True, master_listen_fd=listening.detach()
    )


def _listening(host: str, port: int, alone: bool) -> socket.socket:
    """Return a socket that listens on an address of this machine. Raises OSError where others could not reach it."""
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    if not alone and ipaddress.ip_address(address[0]).is_loopback:
        raise OSError(f"it is {address[0]} on this machine, where other machines' workers cannot reach it")
    return socket.create_server(address[:2], family=family, backlog=socket.SOMAXCONN)
