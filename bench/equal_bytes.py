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
import math
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
from equal_bytes_chart import equal_bytes_svg
from torch import Tensor

import thinwire as tw
from thinwire.codec import derive_seed
from thinwire.delta import subtract
from thinwire.lab.config import RunConfig
from thinwire.lab.environment import environment
from thinwire.lab.one_thread import one_thread
from thinwire.lab.plan import Plan
from thinwire.lab.replace import replace_files
from thinwire.lab.run import prepare
from thinwire.lab.workers import Event, run_plans
from thinwire.policy import Signals
from thinwire.zoo import compressor

SCHEMA = "thinwire.equal-bytes/1"
RATIOS = (32, 64, 128)
AUTO, DENSE = "auto", "dense"
SMALL = "small=Step(nmse=0.02)"
"""Of biases: 4 bits a value at most. Raw they would be more than all of a 128-fold smaller message."""
NEARLY, MOST = 0.94, 1.01
"""A fixed method may send up to 1 % more than the ratio allows; `auto` may not."""
AIM = 0.985
TRIES = 3
SAMPLED_ROUNDS = 6
LAST_ROUNDS = 3
FINALISTS = 3
Update = dict[str, Tensor]
Row = dict[str, Any]


@dataclass(frozen=True)
class Method:
    """A fixed method: its text with a knob {x} between `low` and `high`, None where there is nothing to turn."""

    name: str
    text: str
    low: float = 0.0
    high: float = 0.0
    whole: bool = False
    ratios: Sequence[int] = RATIOS
    ours: bool = False

    def uplink(self, x: float) -> str:
        """Return the text at a knob."""
        return self.text.replace("{x}", str(round(x)) if self.whole else f"{x:.5g}")


def fed_back(codec: str, decay: float = 1.0) -> str:
    """Return a fixed codec with error feedback."""
    return f"Compressor(Fixed({codec}, {SMALL}), ErrorFeedback({decay:g}))"


def plain(codec: str) -> str:
    """Return a fixed codec without: the unbiased ones, which error feedback would make diverge."""
    return f"Compressor(Fixed({codec}, {SMALL}), NoFeedback())"


METHODS = (
    Method("topk", fed_back("TopK({x}, values=Uniform(bits=8))"), 1e-5, 0.5),
    Method("topk-f32", fed_back("TopK({x})"), 1e-5, 0.5),
    Method("stc", fed_back("TopK({x}, values=Sign())"), 1e-5, 0.9),
    Method("hggtopk", fed_back("HggTopK({x})"), 1e-5, 0.5),
    Method("randomkec", fed_back("RandomK({x}, rescale=False)"), 1e-5, 0.5),
    Method("sparseloco", fed_back("ChunkTopK({x}, 4096, values=Uniform(bits=3, block=64))", 0.95), 1, 2048, True),
    Method("eden-ef", fed_back("Eden(bits={x}, scale='mse')"), 1 / 256, 4),
    Method("eden", plain("Eden(bits={x})"), 1 / 256, 4),
    Method("ef-signsgd", fed_back("Sign()"), ratios=(32,)),
    Method("1bit", fed_back("OneBit()"), ratios=(32,)),
    Method("lowrank", fed_back("LowRank(ratio={x}, bits=6)"), 1e-3, 1.0),
    Method("terngrad", plain("Ternary(clip={x})"), 0.5, 100.0),
    Method("qsgd", plain("Qsgd(levels=1, block={x})"), 16, 1 << 20, True),
    Method("step", fed_back("Step(nmse={x})"), 1e-4, 0.99, ours=True),
    Method("smallest", fed_back("Smallest(nmse={x})"), 1e-4, 0.99, ours=True),
)
BY_NAME = {method.name: method for method in METHODS}


@dataclass(frozen=True)
class Setting:
    """How a task is run here: short enough for many runs, long enough that dense reaches its plateau."""

    base: RunConfig
    screened: int
    seeds: int


def settings(data: Path | None) -> dict[str, Setting]:
    """Return the tasks: five clients each, so that coding does not take longer than training."""
    text = RunConfig("shakespeare", clients=5, rounds=15, partition="by-label(4)", rows=1600, data=data)
    return {
        "digits": Setting(RunConfig("digits", clients=5, rounds=12, data=data), 3, 5),
        "adult": Setting(RunConfig("adult", clients=5, rounds=8, local_epochs=1, rows=8000, data=data), 1, 5),
        "fashion-mnist-mlp": Setting(RunConfig("fashion-mnist-mlp", clients=5, rounds=10, rows=12000, data=data), 1, 3),
        "shakespeare": Setting(text, 1, 2),
    }


# What was sent


def recorded(config: RunConfig) -> list[Update]:
    """Return one client's updates in some rounds of dense federated averaging: the client of the median size."""
    task, prepared, training = config.found_task, prepare(config), config.training
    model, kept = task.model(config.seed), []
    shares = [len(part) / len(prepared.data.classes) for part in prepared.parts]
    middle = sorted(range(len(shares)), key=shares.__getitem__)[len(shares) // 2]
    for round_ in range(1, training.rounds + 1):
        before = {name: x.clone() for name, x in model.state_dict().items()}
        mean = {name: torch.zeros_like(x) for name, x in before.items()}
        for client, part in enumerate(prepared.parts):
            model.load_state_dict(before)
            own = tuple(column[torch.from_numpy(part)] for column in prepared.data.train)
            task.train(model, own, training, derive_seed(config.seed, f"train/{round_}/{client}"))
            update = subtract(model.state_dict(), before)
            mean = {name: mean[name] + shares[client] * x for name, x in update.items()}
            kept += [update] if client == middle else []
        model.load_state_dict({name: x + mean[name] for name, x in before.items()})
    every = max(1, math.ceil(len(kept) / SAMPLED_ROUNDS))
    return kept[every - 1 :: every]


def bytes_a_message(uplink: str, updates: Sequence[Update]) -> float:
    """Return what a client sends in a round, on average over recorded rounds, with all that it keeps in between."""
    chosen, sizes = compressor(uplink), []
    state: dict[str, Tensor] = {}
    for round_, update in enumerate(updates, 1):
        message, state, _ = chosen.compress(update, state, Signals(round=round_))
        sizes.append(len(tw.dumps(message)))
    return fmean(sizes)


def searched(method: Method, goal_bytes: float, updates: Sequence[Update]) -> float | None:
    """Return the knob that comes nearest to the goal from below; None where the method cannot send so little."""
    low, high = math.log(method.low), math.log(method.high)
    ends = [bytes_a_message(method.uplink(math.exp(end)), updates) for end in (low, high)]
    cheap, dear = (low, high) if ends[0] <= ends[1] else (high, low)
    if min(ends) > goal_bytes:
        return None
    for _ in range(11):
        middle = (cheap + dear) / 2
        fits = bytes_a_message(method.uplink(math.exp(middle)), updates) <= goal_bytes
        cheap, dear = (middle, dear) if fits else (cheap, middle)
    return math.exp(cheap)


# The study of one task


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
                self._keep(_checked(event.plan, event.value))
                show(f"{event.plan.slug} {self.rows[-1]['final']:.4f}")
            if event.kind == "failed":
                show(f"{event.plan.slug} failed: {event.value[0]}")
                self._keep(_failed(event.plan, event.value[0]))

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
        replace_files({self.file: json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False) + "\n"})

    def _described(self) -> dict[str, object]:
        described = self.setting.base.described()
        return {key: value for key, value in described.items() if key not in ("seed", "uplink", "downlink")}

    # What came out

    def _table(self) -> list[Row]:
        groups = dict.fromkeys((row["method"], row["ratio"]) for row in self.rows)
        return [_mean_row(name, ratio, self.of(name, ratio)) for name, ratio in sorted(groups, key=lambda g: g[1])]

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
        both = {"best": _difference(auto, full[best]), "best_rival": _difference(auto, full[rival])}
        named = {key: value | {"method": name} for (key, value), name in zip(both.items(), (best, rival), strict=True)}
        return {"id": f"{ratio}x", "ratio": ratio, "seeds": len(full[best]), "auto": fmean(auto.values())} | named


def _difference(auto: Mapping[int, float], other: Mapping[int, float]) -> Row:
    """Return `auto` minus another, seed by seed: the mean and its standard error."""
    apart = [auto[seed] - value for seed, value in other.items()]
    error = stdev(apart) / math.sqrt(len(apart)) if len(apart) > 1 else None
    return {"final": fmean(other.values()), "difference": fmean(apart), "standard_error": error}


def _mean_row(name: str, ratio: int, rows: Sequence[Row]) -> Row:
    finals = [row["final"] for row in rows]
    spread = stdev(finals) / math.sqrt(len(finals)) if len(finals) > 1 else None
    used = max(row["used"] for row in rows)
    return {
        "id": f"{name}@{ratio}",
        "method": name,
        "ratio": ratio,
        "seeds": len(rows),
        "final": fmean(finals),
        "standard_error": spread,
        "most_used": used,
        "up_nmse": fmean(row["up_nmse"] or 0.0 for row in rows),
        "uplink": rows[0]["uplink"],
    }


def _checked(plan: Plan, result: Mapping[str, Any]) -> Row:
    """Return the row of a run. A client that fails is sent, and sends, dense arrays: such a run measures nothing."""
    lost = sum(row["failures"] for row in result["rounds"])
    name, ratio = plan.group.split("@")
    row = _row(name, int(ratio), result)
    if lost or (name == AUTO and row["used"] > 1):
        raise SystemExit(f"{plan.slug}: {lost} replies failed and it sent {row['used']:.3f} of its bytes; see its log")
    return row


def _row(name: str, ratio: int, result: Mapping[str, Any]) -> Row:
    rows = result["rounds"][1:]
    sent, replies = sum(row["up_payload_bytes"] for row in rows), sum(row["replies"] for row in rows)
    share = sent / (replies * result["model"]["dense_bytes"])
    errors = [row["up_nmse"] for row in rows if row["up_nmse"] is not None]
    return {
        "method": name,
        "ratio": ratio,
        "seed": result["config"]["seed"],
        "uplink": result["config"]["uplink"],
        "up_bytes": sent,
        "real_ratio": 1 / share,
        "used": share * ratio,
        "final": fmean(row["metric"] for row in rows[-LAST_ROUNDS:]),
        "metrics": [round(row["metric"], 5) for row in rows],
        "up_nmse": fmean(errors) if errors else None,
        "encode_s": sum(row["encode_s"] for row in rows),
        "wall_s": result["totals"]["wall_s"],
    }


def _failed(plan: Plan, reason: str) -> Row:
    """Return the row of a run that left the numbers: as bad as can be."""
    name, ratio = plan.group.split("@")
    what = {"method": name, "ratio": int(ratio), "seed": plan.config.seed, "uplink": plan.config.uplink}
    nothing: Row = {"up_bytes": 0, "real_ratio": None, "used": 1.0, "final": 0.0, "metrics": [], "up_nmse": None}
    return what | nothing | {"encode_s": 0.0, "wall_s": 0.0, "failed": reason}


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


def markdown(results: Iterable[Mapping[str, Any]]) -> str:
    """Return the table `auto` minus the best fixed method."""
    head = (
        "| task | ratio | seeds | auto | best fixed method | auto minus it | best of others' methods | auto minus it |"
    )
    lines = [head, "|---|---|---|---|---|---|---|---|"]
    for result in results:
        for row in result["summary"]:
            cells = [f"{row[k]['method']} {row[k]['final']:.4f} | {_signed(row[k])}" for k in ("best", "best_rival")]
            lines.append(
                f"| {result['task']} | {row['ratio']} | {row['seeds']} | {row['auto']:.4f} | {' | '.join(cells)} |"
            )
    return "\n".join(lines) + "\n"


def marked(results: Iterable[Mapping[str, Any]], folder: str) -> str:
    """Return the same table for a page of docs/: every figure behind a marker with its place in results/."""
    lines = [
        "| task | ratio | dense | `auto` | best fixed method | `auto` minus it, points |",
        "|---|---|---|---|---|---|",
    ]
    for result in results:
        file = f"{folder}/{result['task']}.json"
        dense = next(row for row in result["methods"] if row["method"] == DENSE)
        for row in result["summary"]:
            at, best = f"{file}:summary/id={row['id']}", row["best"]
            error = best["standard_error"]
            apart = _marker(f"{at}/best/difference", "+.2f%", best["difference"])
            spread = f" ± {_marker(f'{at}/best/standard_error', '.2f%', error)}" if error is not None else ""
            shown = [
                _marker(f"{file}:methods/id={dense['id']}/final", ".1f%", dense["final"]),
                _marker(f"{at}/auto", ".1f%", row["auto"]),
                f"`{best['method']}` {_marker(f'{at}/best/final', '.1f%', best['final'])}",
            ]
            lines.append(f"| {result['task']} | {row['ratio']} | {' | '.join(shown)} | {apart}{spread} |")
    return "\n".join(lines) + "\n"


def _marker(path: str, form: str, value: float) -> str:
    return f"<!--={path} {form}-->{format(value * 100, form.rstrip('%'))}"


def _signed(row: Mapping[str, Any]) -> str:
    error = "" if row["standard_error"] is None else f" ± {row['standard_error']:.4f}"
    return f"{row['difference']:+.4f}{error}"


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
    replace_files({out / "summary.md": table, out / "summary.svg": equal_bytes_svg(results)})
    print(table)


if __name__ == "__main__":
    main()
