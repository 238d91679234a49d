"""A row for every run of the study, and the tables made of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from equal_bytes_methods import AUTO, DENSE

from thinwire.lab.plan import Plan

LAST_ROUNDS = 3
Row = dict[str, Any]


def difference(auto: Mapping[int, float], other: Mapping[int, float]) -> Row:
    """Return `auto` minus another, seed by seed: the mean and its standard error."""
    apart = [auto[seed] - value for seed, value in other.items()]
    error = stdev(apart) / math.sqrt(len(apart)) if len(apart) > 1 else None
    return {"final": fmean(other.values()), "difference": fmean(apart), "standard_error": error}


def mean_row(name: str, ratio: int, rows: Sequence[Row]) -> Row:
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


def checked(plan: Plan, result: Mapping[str, Any]) -> Row:
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


def failed(plan: Plan, reason: str) -> Row:
    """Return the row of a run that left the numbers: as bad as can be."""
    name, ratio = plan.group.split("@")
    what = {"method": name, "ratio": int(ratio), "seed": plan.config.seed, "uplink": plan.config.uplink}
    nothing: Row = {"up_bytes": 0, "real_ratio": None, "used": 1.0, "final": 0.0, "metrics": [], "up_nmse": None}
    return what | nothing | {"encode_s": 0.0, "wall_s": 0.0, "failed": reason}


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
