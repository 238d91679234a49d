"""Network namespaces joined by a link of a chosen rate, for benchmarks on one machine.

    python bench/shaped_link.py                        # make one at 20, 100 and 1000 Mbit/s and measure what it gives
    python bench/shaped_link.py --clean                # remove what a killed process left behind

Needs Linux, root and iproute2. Every rank gets a namespace with one device, joined by a bridge in a namespace of its
own: nothing of the machine's own network is touched. A token bucket (tc-tbf) at both ends of every rank's cable shapes
what it sends and what it receives, each to the full rate.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from shaped_net import (
    DEVICE,
    PREFIX,
    Counters,
    LinkUnavailable,
    Shape,
    check,
    counters,
    leftovers,
    put_shape,
    remove,
    run,
)  # fmt: skip


@dataclass(frozen=True)
class Link:
    """Namespaces that reach each other and nothing else."""

    names: tuple[str, ...]
    hub: str

    @property
    def addresses(self) -> tuple[str, ...]:
        """The IPv4 address of each rank."""
        return tuple(f"10.77.0.{rank + 1}" for rank in range(len(self.names)))

    def command(self, rank: int, words: Sequence[str]) -> list[str]:
        """Return the command that runs ``words`` in a rank's namespace."""
        return ["ip", "netns", "exec", self.names[rank], *words]

    def counters(self) -> list[Counters]:
        """Return what each rank's interface counted."""
        return counters(self.names)

    def shape(self, shape: Shape) -> None:
        """Shape every cable anew, both ends. Raises LinkUnavailable where the kernel cannot."""
        ends = [(name, DEVICE) for name in self.names] + [(self.hub, f"port{r}") for r in range(len(self.names))]
        for name, device in ends:
            put_shape(name, device, shape)


@contextmanager
def shaped_link(ranks: int, shape: Shape) -> Iterator[Link]:
    """Give a link between 2 to 4 ranks, and remove it whatever happens but SIGKILL (then: ``--clean``).

    Raises LinkUnavailable, saying what this machine lacks.
    """
    if not 2 <= ranks <= 4:
        raise LinkUnavailable(f"a link is between 2 to 4 ranks, not {ranks}")
    check()
    own = f"{PREFIX}{os.getpid()}-"
    link = Link(tuple(f"{own}{rank}" for rank in range(ranks)), f"{own}hub")
    before = {number: signal.signal(number, _ended) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        _build(link)
        link.shape(shape)
        yield link
    finally:
        for name in (*link.names, link.hub):
            remove(name)
        for number, handler in before.items():
            signal.signal(number, handler)


def _ended(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


def _build(link: Link) -> None:
    for name in (*link.names, link.hub):
        run("ip", "netns", "add", name)
        run("ip", "-n", name, "link", "set", "lo", "up")
    run("ip", "-n", link.hub, "link", "add", "bridge", "type", "bridge")
    run("ip", "-n", link.hub, "link", "set", "bridge", "up")
    for rank, name in enumerate(link.names):
        port = ["peer", "name", f"port{rank}", "netns", link.hub]
        run("ip", "link", "add", DEVICE, "netns", name, "type", "veth", *port)
        run("ip", "-n", link.hub, "link", "set", f"port{rank}", "master", "bridge", "up")
        run("ip", "-n", name, "address", "add", f"{link.addresses[rank]}/24", "dev", DEVICE)
        run("ip", "-n", name, "link", "set", DEVICE, "up")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clean", action="store_true", help="remove what processes that are gone left behind")
    parser.add_argument(
        "--links", default="20mbit,100mbit,1gbit", metavar="RATES", help="default: 20mbit,100mbit,1gbit"
    )
    args = parser.parse_args()
    try:
        check()
        if args.clean:
            for name in leftovers():
                remove(name)
                print(f"removed {name}")
            return
        _show(args.links.split(","))
    except LinkUnavailable as error:
        sys.exit(f"no shaped link: {error}")


def _show(rates: Sequence[str]) -> None:
    from shaped_probe import throughput

    with shaped_link(2, Shape(rates[0])) as link:
        for rate in rates:
            link.shape(Shape(rate))
            print(f"{rate}: {throughput(link) / 1e6:.1f} Mbit/s of payload")


if __name__ == "__main__":
    main()
