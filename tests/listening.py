"""Which addresses processes listen on, as the kernel has it."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

_LISTENING = "0A"
_PAUSE_S = 0.25
"""Between two looks, which take a core's time: workers listen from their start to their end."""


def outer_interface() -> str | None:
    """Return an interface that others reach this machine by, None where there is none."""
    there = Path("/sys/class/net")
    names = [name for _, name in socket.if_nameindex() if not name.startswith("lo")] if there.exists() else []
    return next((name for name in names if (there / name / "operstate").read_text().strip() == "up"), None)


def listened(pid: int) -> set[IPv4Address | IPv6Address]:
    """Return the addresses that a process listens on over TCP; nothing where it has ended."""
    try:
        sockets = {os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir() if fd.is_symlink()}
        return {address for inode, address in _all(pid) if f"socket:[{inode}]" in sockets}
    except OSError:
        return set()


def _all(pid: int) -> Iterator[tuple[str, IPv4Address | IPv6Address]]:
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == _LISTENING:
                yield words[9], _address(words[1].partition(":")[0])


def _address(text: str) -> IPv4Address | IPv6Address:
    """Return an address that the kernel prints as words of four bytes, each in the machine's order."""
    raw = bytes.fromhex(text)
    address = ip_address(b"".join(raw[at : at + 4][::-1] for at in range(0, len(raw), 4)))
    return getattr(address, "ipv4_mapped", None) or address


def family(pid: int) -> list[int]:
    """Return a process and all that it started."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


def watched(*processes: subprocess.Popen[str], wait_s: float = 400) -> set[IPv4Address | IPv6Address]:
    """Return all addresses that processes, and those that they start, listen on until they end."""
    found, until = set[IPv4Address | IPv6Address](), time.monotonic() + wait_s
    while any(process.poll() is None for process in processes):
        if time.monotonic() > until:
            for process in processes:
                process.kill()
            raise AssertionError("a process hangs")
        for process in processes:
            found |= {address for pid in family(process.pid) for address in listened(pid)}
        time.sleep(_PAUSE_S)
    return found
