"""What is asked of the kernel for a shaped link, through `ip` and `tc` of iproute2."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PREFIX = "thinwire-link-"
DEVICE = "eth0"
UNSHAPED = "loopback"
_OURS = re.compile(re.escape(PREFIX) + r"(\d+)-(hub|\d+)")
_RATE = re.compile(r"(\d+(?:\.\d+)?)([kmg])bit")
_UNITS = {"k": 1e3, "m": 1e6, "g": 1e9}
_QUEUE_MS = 400
"""The longest that a packet waits in a token bucket's queue before the queue drops."""


class LinkUnavailable(RuntimeError):
    """This machine cannot make such a link: the text says why."""


@dataclass(frozen=True)
class Shape:
    """A rate as tc writes it, such as ``20mbit``, or UNSHAPED; a delay each way; a packet's bytes.

    LinkUnavailable for what is no rate.
    """

    text: str
    delay_ms: float = 0.0
    mtu: int = 1500

    def __post_init__(self) -> None:
        if self.text != UNSHAPED and not _RATE.fullmatch(self.text):
            raise LinkUnavailable(f"{self.text!r} is no rate, expected one such as 20mbit or 1gbit, or {UNSHAPED}")

    @property
    def bits_per_s(self) -> float | None:
        """The rate of each direction, with all headers; None: as fast as the machine goes."""
        found = _RATE.fullmatch(self.text)
        return float(found[1]) * _UNITS[found[2]] if found else None

    @property
    def burst_bytes(self) -> int:
        """What may leave at once after a pause: what 0.6 ms carry, and two packets at least.

        More would let small messages through unshaped. From about 1 Gbit/s on it holds a segment of 64 KiB, so that
        the kernel need not cut it.
        """
        rate = self.bits_per_s or 0.0
        return max(2 * (self.mtu + 100), round(rate / 8 * 0.6e-3))


@dataclass(frozen=True)
class Counters:
    """What an interface counted since it is there: Ethernet, IP and TCP headers are in the bytes."""

    rx_bytes: int
    tx_bytes: int
    rx_packets: int
    tx_packets: int


def put_shape(name: str, device: str, shape: Shape) -> None:
    """Shape what leaves through a device. Raises LinkUnavailable where the kernel cannot."""
    with suppress(LinkUnavailable):
        run("tc", "-n", name, "qdisc", "del", "dev", device, "root")
    run("ip", "-n", name, "link", "set", "dev", device, "mtu", str(shape.mtu))
    parent = ["root"]
    if shape.delay_ms and device == DEVICE:
        run("tc", "-n", name, "qdisc", "add", "dev", device, "root", "handle", "1:", "netem", "delay",
             f"{shape.delay_ms}ms", "limit", "100000")  # fmt: skip
        parent = ["parent", "1:"]
    if shape.bits_per_s is not None:
        bucket = ["rate", shape.text, "burst", str(shape.burst_bytes), "latency", f"{_QUEUE_MS}ms"]
        run("tc", "-n", name, "qdisc", "add", "dev", device, *parent, "tbf", *bucket)


def counters(names: Sequence[str]) -> list[Counters]:
    """Return what the interface of each namespace counted; works from within any of them, too."""
    return [_counted(run("ip", "-n", name, "-j", "-s", "link", "show", "dev", DEVICE)) for name in names]


def _counted(text: str) -> Counters:
    found: dict[str, Any] = json.loads(text)[0]["stats64"]
    rx, tx = found["rx"], found["tx"]
    return Counters(rx["bytes"], tx["bytes"], rx["packets"], tx["packets"])


def check() -> None:
    """Raise LinkUnavailable where this machine cannot make a link."""
    if not sys.platform.startswith("linux"):
        raise LinkUnavailable("network namespaces are Linux's")
    if lacking := [tool for tool in ("ip", "tc") if shutil.which(tool) is None]:
        raise LinkUnavailable(f"{' and '.join(lacking)} not found; install iproute2")
    if os.geteuid() != 0:
        raise LinkUnavailable("only root makes network namespaces; run it with sudo")


def remove(name: str) -> None:
    """End what runs in a namespace and remove it; one that is not there is none."""
    with suppress(LinkUnavailable):
        for pid in run("ip", "netns", "pids", name).split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        run("ip", "netns", "del", name)


def leftovers() -> list[str]:
    """Return the namespaces of processes that are gone."""
    found = [_OURS.fullmatch(line.split()[0]) for line in run("ip", "netns", "list").splitlines() if line]
    return [match[0] for match in found if match and not Path("/proc", match[1]).exists()]


def run(*words: str) -> str:
    """Return what a command prints. Raises LinkUnavailable with what it says against it."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LinkUnavailable(f"`{' '.join(words)}` failed: {done.stderr.strip() or done.returncode}")
    return done.stdout
