"""Training over links of 20 Mbit/s to 1 Gbit/s: what each method waits for, and its bytes beside the interfaces'.

    python bench/shaped.py --out results/shaped.json                                  # all; under half an hour
    python bench/shaped.py --models small-resnet --links 20mbit --methods none,hggtopk --steps 8

Needs Linux, root and iproute2 (bench/shaped_link.py). Every rank is a process in a network namespace of its own, on one
thread, and does what `thinwire train` does when torchrun started it. Rows that the file holds already are kept: the
same command goes on where it was stopped. Times are medians over the steps but the first 3, means over the ranks; of a
row whose dense step would wait seconds there are few steps, and each row says how many. `none` and torch's hooks
overlap as they always do; thinwire's methods run without a pipeline and with one. The link called loopback is the same
without a token bucket. Packets of 1500 bytes carry 4.6 % of headers, and what acknowledges them as much as half of that
the other way: the interfaces' bytes stand beside ours with and without 66 bytes a packet; with `--mtu 9000` headers are
0.7 %. Above 1 Gbit/s the kernel hands segments of up to 64 KiB through, counted as one packet each.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from shaped_docs import marked
from shaped_link import Link, shaped_link
from shaped_net import DEVICE, UNSHAPED, LinkUnavailable, Shape
from shaped_probe import throughput
from shaped_rank import COUNTERS, DONE, POWERSGD_START, SKIPPED
from shaped_rows import METHODS, MODELS, STEPS, Case, cases, row, table

from thinwire.files import write_files
from thinwire.lab.environment import environment
from thinwire.lab.models.catalogue import find
from thinwire.lab.training.config import TrainConfig
from thinwire.lab.training.prepared import read

SCHEMA = "thinwire.shaped/1"
PORT = 29_500
QUIET = {"OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR"}
"""One thread a rank; and no warning that a namespace has no host names."""
PIPELINES = {"both": (False, True), "yes": (True,), "no": (False,)}


class Results:
    """The rows of a file, written after every change."""

    def __init__(self, file: Path, ranks: int, delay_ms: float, mtu: int) -> None:
        self._file = file
        self._settings = {"ranks": ranks, "delay_ms": delay_ms, "mtu": mtu, "skipped_steps": SKIPPED, "threads": 1}
        self._settings |= {"torch_powersgd_start": POWERSGD_START}
        old: dict[str, Any] = {"settings": self._settings, "rows": []}
        if file.exists():
            old = json.loads(file.read_text())
        if old["settings"] != self._settings:
            sys.exit(f"{file} holds rows of other settings ({old['settings']}); give another --out")
        self.rows: list[dict[str, Any]] = old["rows"]

    def has(self, case: Case) -> bool:
        """Whether this row is there, of the same run."""
        return any(row["id"] == case.id and row["config"] == case.config() for row in self.rows)

    def put(self, new: dict[str, Any]) -> None:
        """Add a row, or replace it."""
        self.rows = [row for row in self.rows if row["id"] != new["id"]] + [new]
        whole = {"schema": SCHEMA, "settings": self._settings, "environment": environment(), "rows": self.rows}
        self._file.parent.mkdir(parents=True, exist_ok=True)
        write_files({self._file: json.dumps(whole, indent=1, allow_nan=False) + "\n"})


def measure(link: Link, wanted: Sequence[Case], measured: float, results: Results) -> None:
    """Make the runs of one link, each row written when its run is over; a rank that fails ends the benchmark."""
    with tempfile.TemporaryDirectory(prefix="thinwire-shaped-") as folder:
        outs = [Path(folder) / case.id for case in wanted]
        told = Path(folder) / "told.json"
        runs = [{"config": case.config(), "out": str(out)} for case, out in zip(wanted, outs, strict=True)]
        told.write_text(json.dumps({"names": link.names, "runs": runs}))
        with ExitStack() as stack:
            ranks = [stack.enter_context(_rank(link, rank, told)) for rank in range(len(link.names))]
            for case, out in zip(wanted, outs, strict=True):
                started = time.monotonic()
                _wait(out / DONE, case, ranks)
                results.put(_row(case, out, measured))
                said = f"exposed {1e3 * results.rows[-1]['exposed_s']:,.1f} ms, {time.monotonic() - started:.0f} s"
                print(f"{case.id}: {said}", file=sys.stderr)
                shutil.rmtree(out)


def _wait(done: Path, case: Case, ranks: Sequence[subprocess.Popen[bytes]]) -> None:
    while not done.exists():
        if any(process.poll() for process in ranks):
            sys.exit(f"a rank ended in {case.id}; the rows before it are kept")
        time.sleep(0.1)


def _row(case: Case, out: Path, measured: float) -> dict[str, Any]:
    result, seen = (json.loads((out / name).read_text()) for name in ("train.json", COUNTERS))
    return row(case, result, seen, measured)


@contextmanager
def _rank(link: Link, rank: int, told: Path) -> Iterator[subprocess.Popen[bytes]]:
    place = {"RANK": rank, "WORLD_SIZE": len(link.names), "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1}
    own = place | {"MASTER_ADDR": link.addresses[0], "MASTER_PORT": PORT, "GLOO_SOCKET_IFNAME": DEVICE}
    variables = os.environ | {name: str(value) for name, value in own.items()} | QUIET
    command = [sys.executable, str(Path(__file__).with_name("shaped_rank.py")), str(told)]
    process = subprocess.Popen(link.command(rank, command), env=variables)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def dense_bytes(model: str) -> int:
    """Return the bytes of a model's gradients in float32."""
    dataset = read(TrainConfig(model=model, **MODELS[model]))
    return 4 * find(model).parameters(dataset.outputs, **dataset.options)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/shaped.json"))
    parser.add_argument("--models", default=",".join(MODELS), help=f"of {', '.join(MODELS)}; default: all")
    parser.add_argument("--methods", default=",".join(METHODS), help=f"of {', '.join(METHODS)}; default: all")
    links = f"rates as tc writes them, and {UNSHAPED}; default: 20mbit,100mbit,1gbit,{UNSHAPED}"
    parser.add_argument("--links", default=f"20mbit,100mbit,1gbit,{UNSHAPED}", help=links)
    parser.add_argument("--delay-ms", type=float, default=0.0, help="of each packet, each way; default: 0")
    parser.add_argument("--mtu", type=int, default=1500, help="bytes of a packet, 9000 for jumbo frames; default: 1500")
    parser.add_argument("--ranks", type=int, default=2, help="2 to 4; default: 2")
    usual = ", ".join(f"{steps} of {model}" for model, steps in STEPS.items())
    parser.add_argument("--steps", type=int, help=f"more than {SKIPPED}, within one epoch; default: {usual}")
    parser.add_argument("--pipeline", choices=PIPELINES, default="both", help="default: both")
    parser.add_argument("--show", action="store_true", help="only print the table of --out")
    parser.add_argument("--docs", action="store_true", help="only print its tables with markers for docs/")
    args = parser.parse_args()
    if args.steps is not None and args.steps <= SKIPPED:
        parser.error(f"--steps is {args.steps}, expected more than {SKIPPED}")
    results = Results(args.out, args.ranks, args.delay_ms, args.mtu)
    try:
        if not (args.show or args.docs):
            _measure_all(args, results)
    except LinkUnavailable as error:
        sys.exit(f"no shaped link: {error}")
    print("\n".join(marked(results.rows, args.out.name) if args.docs else table(results.rows)))


def _measure_all(args: argparse.Namespace, results: Results) -> None:
    models, methods = (_known(given, known) for given, known in ((args.models, MODELS), (args.methods, METHODS)))
    dense = {model: dense_bytes(model) for model in models}
    for name in args.links.split(","):
        found = cases(models, methods, name, PIPELINES[args.pipeline], args.ranks, args.steps, dense)
        wanted = [case for case in found if not results.has(case)]
        if wanted:
            with shaped_link(args.ranks, Shape(name, args.delay_ms, args.mtu)) as link:
                measured = throughput(link)
                print(f"{name}: {measured / 1e6:,.1f} Mbit/s of TCP payload, {len(wanted)} rows", file=sys.stderr)
                measure(link, wanted, measured, results)


def _known(given: str, known: Collection[str]) -> list[str]:
    names = given.split(",")
    if odd := [name for name in names if name not in known]:
        sys.exit(f"unknown: {', '.join(odd)}; known: {', '.join(known)}")
    return names


if __name__ == "__main__":
    main()
