"""Federated accuracy at equal uplink bytes: 32, 64 and 128 times fewer than dense, `auto` beside every fixed method.

    THINWIRE_DATA=folder python bench/equal_bytes.py --task digits --out results/equal-bytes

Every method that can be set to such a ratio is: its knob is first searched on recorded updates of a dense run, error
feedback included, then corrected by what a real run of seed 0 sent, until that is the ratio's bytes: 94 % of them or
more where the knob is fine enough, and at most 1 % more than allowed (`auto`: never more). Bytes are those of the
frames that the clients sent. Downwards goes the dense model, so that nothing but the uplink differs; norms and biases,
which alone are more than 1/128 of these small models, go through the same quantizer with every fixed method. All
methods are screened on the first seeds; the best ones of each ratio and `auto` get all of them. `final` is the mean
metric of the last three rounds. Finished runs are kept in the JSON: the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from equal_bytes_chart import equal_bytes_svg
from equal_bytes_knobs import Update, recorded, searched
from equal_bytes_methods import AUTO, BY_NAME, DENSE, RATIOS, Method, Setting, settings
from equal_bytes_rows import Row, checked, difference, failed, markdown, marked, mean_row

from thinwire.files import write_files
from thinwire.lab.environment import environment
from thinwire.lab.one_thread import one_thread
from thinwire.lab.plan import Plan
from thinwire.lab.workers import Event, run_plans

SCHEMA = "thinwire.equal-bytes/1"
NEARLY, MOST = 0.94, 1.01
"""A fixed method may send up to 1 % more than the ratio allows; `auto` may not."""
AIM = 0.985
TRIES = 3
FINALISTS = 3


@dataclass
class Study:
    """One task's file: which knobs were found, and a row for every finished run."""

    task: str
    setting: Setting
    file: Path
    jobs: int
    ratios: Sequence[int]
    methods: Sequence[Method]
    knobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    _updates: list[Update] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.file.exists():
            there = json.loads(self.file.read_text())
            if there["config"] != self._described():
                raise SystemExit(f"{self.file} is of another setting; move it away or give another --out")
            self.knobs, self.rows = there["knobs"], there["rows"]

    def make(self) -> None:
        """Do all that is not done yet."""
        self._run([(DENSE, 1, "none", seed) for seed in range(self.setting.seeds)])
        self._tune()
        groups = [(name, ratio) for ratio in self.ratios for name in self._names(ratio)]
        self._run(self._wanted(groups, range(self.setting.screened)))
        best = [(name, ratio) for ratio in self.ratios for name in self._finalists(ratio)]
        self._run(self._wanted(best, range(self.setting.seeds)))
        self._write()

    def of(self, name: str, ratio: int, seeds: Iterable[int] | None = None) -> list[Row]:
        """Return the rows of a method in order of seeds."""
        rows = [row for row in self.rows if (row["method"], row["ratio"]) == (name, ratio)]
        return sorted((r for r in rows if seeds is None or r["seed"] in seeds), key=lambda row: row["seed"])

    def _names(self, ratio: int) -> list[str]:
        fixed = [m.name for m in self.methods if ratio in m.ratios and self.knobs[f"{m.name}@{ratio}"]["uplink"]]
        return [*fixed, AUTO]

    def _finalists(self, ratio: int) -> list[str]:
        screened = range(self.setting.screened)
        sign = -1 if self.setting.base.found_task.higher_is_better else 1
        fixed = [name for name in self._names(ratio) if name != AUTO]
        order = sorted(fixed, key=lambda name: sign * fmean(r["final"] for r in self.of(name, ratio, screened)))
        return [*order[:FINALISTS], AUTO]

    def _wanted(self, groups: Iterable[tuple[str, int]], seeds: Iterable[int]) -> list[tuple[str, int, str, int]]:
        pairs = list(groups)
        return [(name, ratio, self._uplink(name, ratio), seed) for seed in seeds for name, ratio in pairs]

    def _uplink(self, name: str, ratio: int) -> str:
        if name == AUTO:
            return f"Compressor(ByteBudget(ratio={ratio}), ErrorFeedback())"
        return str(self.knobs[f"{name}@{ratio}"]["uplink"])

    # Knobs

    def _tune(self) -> None:
        for method in self.methods:
            for ratio in method.ratios:
                if ratio in self.ratios:
                    self.knobs.setdefault(f"{method.name}@{ratio}", self._first(method, ratio))
        self._write()
        while open_ := [key for key, knob in self.knobs.items() if not knob["settled"]]:
            pairs = [(key.split("@")[0], int(key.split("@")[1])) for key in open_]
            self._run(self._wanted(pairs, [0]))
            for name, ratio in pairs:
                self._correct(BY_NAME[name], ratio)
            self._write()

    def _first(self, method: Method, ratio: int) -> dict[str, Any]:
        if not method.low:
            return {"uplink": method.text, "settled": True, "tried": []}
        x = self._searched(method, ratio, AIM)
        return {"uplink": x and method.uplink(x), "settled": x is None, "tried": []}

    def _searched(self, method: Method, ratio: int, share: float) -> float | None:
        if not self._updates:
            self._updates += recorded(self.setting.base)
        dense = sum(x.numel() * x.element_size() for x in self._updates[0].values())
        return searched(method, share * dense / ratio, self._updates)

    def _correct(self, method: Method, ratio: int) -> None:
        """Look at what the run of seed 0 sent: settle, or search a knob for as much more or less."""
        knob, (row,) = self.knobs[f"{method.name}@{ratio}"], self.of(method.name, ratio, [0])
        used = row["used"]
        knob["tried"].append({"uplink": knob["uplink"], "used": used})
        asked = knob.get("asked", AIM) * AIM / used
        x = None if NEARLY <= used <= MOST else self._searched(method, ratio, asked)
        known = {tried["uplink"] for tried in knob["tried"]}
        while used > MOST and x is not None and method.uplink(x) in known:
            # A knob of few steps: down to the next one.
            asked *= AIM
            x = self._searched(method, ratio, asked)
        again = x is None or method.uplink(x) in known
        if again or len(knob["tried"]) >= TRIES:
            knob |= {"uplink": _best(knob["tried"]), "settled": True}
        else:
            knob |= {"uplink": method.uplink(x or 0.0), "asked": asked}

    # Runs

    def _run(self, wanted: Sequence[tuple[str, int, str, int]]) -> None:
        """Make the runs that have no row yet: the same method, ratio, seed and uplink."""
        have = {(row["method"], row["ratio"], row["uplink"], row["seed"]) for row in self.rows}
        todo = [self._plan(*what) for what in dict.fromkeys(wanted) if what not in have]
        show = _Bar(self.task, len(todo))

        def handle(event: Event) -> None:
            if event.kind == "finished":
                self._keep(checked(event.plan, event.value))
                show(f"{event.plan.slug} {self.rows[-1]['final']:.4f}")
            if event.kind == "failed":
                show(f"{event.plan.slug} failed: {event.value[0]}")
                self._keep(failed(event.plan, event.value[0]))

        run_plans(todo, self.jobs, handle)

    def _plan(self, name: str, ratio: int, uplink: str, seed: int) -> Plan:
        config = replace(self.setting.base, uplink=uplink, downlink="none", seed=seed)
        return Plan(f"{name}@{ratio}", name, config)

    def _keep(self, row: Row) -> None:
        key = row["method"], row["ratio"], row["seed"]
        self.rows = [old for old in self.rows if (old["method"], old["ratio"], old["seed"]) != key] + [row]
        self._write()

    def _write(self) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        order = {name: at for at, name in enumerate((DENSE, AUTO, *BY_NAME))}
        rows = sorted(self.rows, key=lambda row: (row["ratio"], order[row["method"]], row["seed"]))
        result = {
            "schema": SCHEMA,
            "task": self.task,
            "metric": self.setting.base.found_task.metric,
            "config": self._described(),
            "environment": environment(),
            "summary": self._summary(),
            "methods": self._table(),
            "knobs": self.knobs,
            "rows": rows,
        }
        write_files({self.file: json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False) + "\n"})

    def _described(self) -> dict[str, object]:
        described = self.setting.base.described()
        return {key: value for key, value in described.items() if key not in ("seed", "uplink", "downlink")}

    # What came out

    def _table(self) -> list[Row]:
        groups = dict.fromkeys((row["method"], row["ratio"]) for row in self.rows)
        return [mean_row(name, ratio, self.of(name, ratio)) for name, ratio in sorted(groups, key=lambda g: g[1])]

    def _summary(self) -> list[Row]:
        return [found for ratio in self.ratios if (found := self._against_best(ratio))]

    def _against_best(self, ratio: int) -> Row | None:
        auto = {row["seed"]: row["final"] for row in self.of(AUTO, ratio)}
        rivals = {name: self.of(name, ratio) for name in BY_NAME}
        fixed = {name: {r["seed"]: r["final"] for r in rows} for name, rows in rivals.items() if rows}
        most = max((len(values) for values in fixed.values()), default=0)
        full = {name: values for name, values in fixed.items() if len(values) == most and values.keys() <= auto.keys()}
        if not full:
            return None
        best = max(full, key=lambda name: fmean(full[name].values()))
        outside = {name: values for name, values in full.items() if not BY_NAME[name].ours} or full
        rival = max(outside, key=lambda name: fmean(outside[name].values()))
        both = {"best": difference(auto, full[best]), "best_rival": difference(auto, full[rival])}
        named = {key: value | {"method": name} for (key, value), name in zip(both.items(), (best, rival), strict=True)}
        return {"id": f"{ratio}x", "ratio": ratio, "seeds": len(full[best]), "auto": fmean(auto.values())} | named


def _best(tried: Sequence[Row]) -> str:
    """Return the text that used most of the bytes without using more; the least where all did."""
    fitting = [one for one in tried if one["used"] <= MOST]
    found = max(fitting, key=lambda one: one["used"]) if fitting else min(tried, key=lambda one: one["used"])
    return str(found["uplink"])


class _Bar:
    """A line on stderr that says how far it is and how long the rest may take."""

    def __init__(self, title: str, total: int) -> None:
        self._title, self._total, self._done, self._started = title, total, 0, time.perf_counter()

    def __call__(self, what: str) -> None:
        self._done += 1
        left_s = (time.perf_counter() - self._started) / self._done * (self._total - self._done)
        full = round(24 * self._done / self._total)
        bar = "#" * full + "." * (24 - full)
        print(
            f"{self._title} [{bar}] {self._done}/{self._total}, {left_s / 60:.1f} min left: {what}",
            file=sys.stderr,
            flush=True,
        )


def main() -> None:
    data = os.environ.get("THINWIRE_DATA")
    known = settings(Path(data) if data else None)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", action="append", choices=list(known), help="again for more; default: all four")
    parser.add_argument("--methods", default=",".join(BY_NAME), help="fixed methods, with commas; auto always runs")
    parser.add_argument("--ratios", default=",".join(map(str, RATIOS)))
    parser.add_argument("--rounds", type=int, help="of every run; default: the task's in this study")
    parser.add_argument("--seeds", type=int, help="for the finalists; default: the task's in this study")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--docs", action="store_true", help="run nothing; print the table with markers for docs/")
    args = parser.parse_args()
    if args.docs:
        print(marked(_finished(args.out), args.out.name))
        return
    methods = [BY_NAME[name] for name in args.methods.split(",") if name]
    ratios = [int(ratio) for ratio in args.ratios.split(",")]
    for task in args.task or known:
        setting = _changed(known[task], args.rounds, args.seeds)
        with one_thread():
            Study(task, setting, args.out / f"{task}.json", args.jobs, ratios, methods).make()
    _report(args.out)


def _changed(setting: Setting, rounds: int | None, seeds: int | None) -> Setting:
    base = replace(setting.base, rounds=rounds) if rounds else setting.base
    return Setting(base, min(setting.screened, seeds or setting.seeds), seeds or setting.seeds)


def _finished(out: Path) -> list[dict[str, Any]]:
    return [json.loads(file.read_text()) for file in sorted(out.glob("*.json"))]


def _report(out: Path) -> None:
    results = _finished(out)
    table = markdown(results)
    write_files({out / "summary.md": table, out / "summary.svg": equal_bytes_svg(results)})
    print(table)


if __name__ == "__main__":
    main()
