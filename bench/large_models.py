"""Large models on a real SuperLink with two SuperNodes, beside the same app without thinwire.

For each size: failures, seconds a round, bytes that Flower counted, and the peak memory of the ServerApp's and the
ClientApps' processes (their high-water mark, read from /proc while they run; Linux). Train and evaluate in every round.
Writes one JSON, schema "thinwire.large/1", into results/large-models.json; sizes that are there are kept.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from deploy import ROOT, Settings, executables_missing, run_deployed

HIDDEN = {"12M": 3425, "50M": 7030}
PROGRAMS = {"flwr-serverapp": "server", "flwr-clientapp": "client"}
_LOGGED = re.compile(r"Received (\d+) results and (\d+) failures")


class PeakMemory:
    """The largest high-water mark of the processes of a run, by what they are."""

    def __init__(self) -> None:
        self.peaks_mb = dict.fromkeys(PROGRAMS.values(), 0.0)
        self._stop = threading.Event()

    def _look(self) -> None:
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                kind = next((kind for program, kind in PROGRAMS.items() if program in command), None)
                if kind and (mark := re.search(r"VmHWM:\s+(\d+) kB", (folder / "status").read_text())):
                    self.peaks_mb[kind] = max(self.peaks_mb[kind], int(mark[1]) / 1024)

    def _run(self) -> None:
        while not self._stop.wait(0.05):
            self._look()

    @contextmanager
    def watching(self):
        """Watch while the block runs."""
        thread = threading.Thread(target=self._run, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            thread.join()


def run(settings: Settings, logs: Path | None) -> dict[str, Any]:
    """Return what one deployment cost."""
    with tempfile.TemporaryDirectory(prefix="thinwire-large-") as temporary:
        folder, started = Path(temporary), time.monotonic()
        try:
            with PeakMemory().watching() as memory:
                result = run_deployed(settings, folder)
        finally:
            if logs is not None:
                shutil.copytree(folder, logs, dirs_exist_ok=True, ignore=shutil.ignore_patterns("home", "app"))
        log = (folder / "serverapp.log").read_text()
    answers = [tuple(map(int, found)) for found in _LOGGED.findall(log)]
    return {
        "settings": asdict(settings),
        "results": sum(ok for ok, _ in answers),
        "failures": sum(failed for _, failed in answers),
        "round_s": [each["round_s"] for each in result["rounds"][1:]],
        "accuracy": [each["accuracy"] for each in result["rounds"]],
        "engine": result["engine"],
        "peak_mb": {kind: round(mb, 1) for kind, mb in memory.peaks_mb.items()},
        "run_s": round(time.monotonic() - started, 1),
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="*", default=list(HIDDEN), choices=HIDDEN)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--uplink", default="auto")
    parser.add_argument("--downlink", default="auto")
    parser.add_argument("--skip-stock", action="store_true", help="keep the stock rows that are there")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "large-models.json")
    parser.add_argument("--keep-logs", type=Path, metavar="DIR")
    args = parser.parse_args(argv)
    if missing := executables_missing():
        parser.error(f"not installed beside this Python: {', '.join(missing)}")
    done = json.loads(args.out.read_text()) if args.out.exists() else {"schema": "thinwire.large/1", "sizes": {}}
    base = Settings(rounds=args.rounds, fraction_evaluate=1.0, run_timeout_s=3000.0)
    for size in args.sizes:
        row = done["sizes"].setdefault(size, {})
        wanted = replace(base, hidden=HIDDEN[size], uplink=args.uplink, downlink=args.downlink)
        for name, settings in (("stock", replace(wanted, stock=True)), ("thinwire", wanted)):
            if name == "stock" and args.skip_stock and name in row:
                continue
            row[name] = run(settings, args.keep_logs and args.keep_logs / f"{size}-{name}")
            print(size, name, {key: row[name][key] for key in ("failures", "round_s", "peak_mb", "engine", "accuracy")})
            args.out.write_text(json.dumps(done, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
