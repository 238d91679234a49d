"""Flower's published examples beside themselves with thinwire's one line: bytes, final metric, failures.

    python bench/flower_examples.py --examples ~/flower/examples --older ~/flower-2025-07/examples --data ~/data

The examples are read from a checkout of Flower (`--older`: one from before they moved to the Message API, such as
de3d250b59) and run as they are, with their own configs, in this process; only their data come from local files. They
need their own packages: flwr-datasets, pandas, scikit-learn, xgboost, catboost, lifelines, opacus, transformers, keras,
jax with flax and optax, pytorch-lightning, tensorboard; one whose packages are missing is reported as skipped.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

XGB = {"params.nthread": 1}
CYCLIC = XGB | {"train-method": "cyclic"}
OFFLINE = {
    "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "FLWR_TELEMETRY_ENABLED": "0", "OMP_NUM_THREADS": "1",
    "KERAS_BACKEND": "torch", "TOKENIZERS_PARALLELISM": "false", "JAX_PLATFORMS": "cpu",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
}  # fmt: skip


def apps() -> list:
    """Return the examples. Imported late: the run needs flwr and torch, the list of names and the table do not."""
    from flower_examples_run import App

    survival = r"\n *[\d.]+ +([\d.]+)"
    new = [
        App("quickstart-pytorch", "quickstart-pytorch", "server accuracy"),
        App("quickstart-sklearn", "quickstart-sklearn", "clients accuracy", 3, {"penalty": "l2"}),
        App("quickstart-numpy", "quickstart-numpy", "train random_metric"),
        App("quickstart-xgboost", "quickstart-xgboost", "clients auc", 20, XGB),
        App("quickstart-huggingface", "quickstart-huggingface", "clients accuracy", 20),
        App("advanced-pytorch", "advanced-pytorch", "server accuracy", 50),
        App("custom-mods", "custom-mods", "server accuracy"),
        App("vertical-fl", "vertical-fl", "printed", 3, text=r"Round \d+ -> Loss: [\d.]+ \| Accuracy: ([\d.]+)"),
        App("flower-secure-aggregation", "flower-secure-aggregation", "clients accuracy", 5, {"is-demo": False}),
        App("federated-kaplan-meier-fitter", "federated-kaplan-meier-fitter", "printed", 2, text=survival),
        App("fl-dp-sa", "fl-dp-sa", "train val_accuracy", 100),
        App("opacus", "opacus", "clients accuracy", 2),
        App("fl-tabular", "fl-tabular", "clients accuracy", 5),
        App("quickstart-tensorflow", "quickstart-tensorflow", "clients eval_acc"),
        App("quickstart-jax", "quickstart-jax", "clients eval_acc", 50),
        App("quickstart-pytorch-lightning", "quickstart-pytorch-lightning", "clients eval_loss", 4),
        App("quickstart-catboost", "quickstart-catboost", "printed", 5, text=r"Avg eval AUC: ([\d.]+)"),
        App("quickstart-pandas", "quickstart-pandas", "printed", 4, text=r"Aggregated histogram: .*\[ *(\d+)"),
        App("federated-vae", "federated-vae", "clients loss", 2),
        App("xgboost-comprehensive (bagging)", "xgboost-comprehensive", "clients auc", 5, XGB),
        App("xgboost-comprehensive (cyclic)", "xgboost-comprehensive", "clients auc", 5, CYCLIC),
    ]  # fmt: skip
    step = "flower-simulation-step-by-step-pytorch/my-awesome-app"
    older = [
        App("client_fn quickstart-pytorch", "quickstart-pytorch", "clients accuracy"),
        App("client_fn quickstart-sklearn", "quickstart-sklearn-tabular", "clients loss", 3),
        App("client_fn sklearn-logreg-mnist", "sklearn-logreg-mnist", "server accuracy"),
        App("client_fn advanced-pytorch", "advanced-pytorch", "server centralized_accuracy", 50),
        App("client_fn custom-mods", "custom-mods", "clients accuracy"),
        App("client_fn vertical-fl", "vertical-fl", "train accuracy", 3),
        App("client_fn kaplan-meier", "federated-kaplan-meier-fitter", "printed", 2, text=survival),
        App("client_fn fl-tabular", "fl-tabular", "clients accuracy", 5),
        App("client_fn opacus", "opacus", "clients accuracy", 2),
        App("client_fn vae", "pytorch-federated-variational-autoencoder", "clients loss", 2),
        App("client_fn quickstart-tensorflow", "quickstart-tensorflow", "clients accuracy"),
        App("client_fn quickstart-huggingface", "quickstart-huggingface", "clients loss", 20),
        App("client_fn quickstart-pytorch-lightning", "quickstart-pytorch-lightning", "clients loss", 4),
        App("client_fn xgboost", "xgboost-quickstart", "clients AUC", 20, XGB),
        App("client_fn xgboost-comprehensive", "xgboost-comprehensive", "clients AUC", 5, XGB),
        App("client_fn step-by-step", step, "server cen_accuracy"),
    ]
    return new + [replace(app, older=True) for app in older]


def one(app: Any, args: argparse.Namespace) -> None:
    """Run an app with every seed and on every side, in this process, so that its data are read once; a line a run."""
    import flower_examples_data as data
    import flower_examples_stubs as stubs
    from flower_examples_run import run_app

    data.serve_locally(args.data, app.older)
    hub = "huggingface" in app.name
    stubs.install(vision=not hub)
    if hub:
        import datasets

        known = datasets.load_dataset("stanfordnlp/imdb", split="test")
        app = replace(app, config={**app.config, "model-name": str(_bert(stubs, known))})
    if args.rounds:
        app = replace(app, config={**app.config, "num-server-rounds": args.rounds})
    folder = (args.older if app.older else args.examples) / app.folder
    done = len(args.runs.read_text().splitlines()) if args.runs.exists() else 0
    for seed, side in planned_runs(args)[done:]:
        found = run_app(app, folder.resolve(), seed, side)
        with args.runs.open("a") as file:
            file.write(json.dumps(found) + "\n")


def planned_runs(args: argparse.Namespace) -> list[tuple[int, str]]:
    """Return seeds and sides; what is lossless ends as stock does or not, which one seed shows."""
    return [(seed, side) for seed in range(args.seeds) for side in args.sides if seed == 0 or side != "lossless"]


def _bert(stubs: Any, known: Any) -> Path:
    return stubs.tiny_bert(Path(tempfile.mkdtemp()), list(known["text"]), list(known["label"]))


def row(app: str, runs: Sequence[dict], side: str) -> dict[str, Any]:
    """Compare one side with stock, over the seeds that both ended."""
    by_run = {(run.get("side"), run.get("seed")): run for run in runs}
    pairs = [
        (run, by_run[side, seed]) for (kind, seed), run in by_run.items() if kind == "stock" and (side, seed) in by_run
    ]
    crashed = next((b["crashed"] for _, b in pairs if "crashed" in b), None)
    ended = [(a, b) for a, b in pairs if not {"crashed"} & {*a, *b}]
    if not ended:
        return {"app": app, "side": side, "crashed": crashed or next((a.get("crashed") for a in runs), "no run")}
    stock, ours = ([pair[i] for pair in ended] for i in (0, 1))
    means = {key: [statistics.fmean(r[key] for r in side_) for side_ in (stock, ours)] for key in ("bytes", "metric")}
    return {
        "app": app,
        "side": side,
        "rounds": stock[0]["rounds"],
        "stock_bytes": means["bytes"][0],
        "bytes": means["bytes"][1],
        "ratio": means["bytes"][0] / means["bytes"][1],
        "stock_metric": means["metric"][0],
        "metric": means["metric"][1],
        "difference": means["metric"][1] - means["metric"][0],
        "identical": all((a["model"], a["metrics"]) == (b["model"], b["metrics"]) for a, b in ended),
        "stock_failures": sum(a["failures"] for a in stock),
        "failures": sum(b["failures"] for b in ours),
        "transfers": ours[0].get("transfers", {}),
        "warnings": ours[0].get("warnings", []),
        "crashed": crashed,
    }


def in_a_process(name: str, args: argparse.Namespace, timeout_s: float = 3600) -> list[dict]:
    """Run one app in a process of its own, for its modules, its memory and its crashes: the next run has a new one."""
    planned = planned_runs(args)
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder) / "runs.jsonl"
        command = [sys.executable, __file__, *sys.argv[1:], "--only", name, "--runs", str(runs)]
        while (done := len(runs.read_text().splitlines()) if runs.exists() else 0) < len(planned):
            ended = subprocess.run(
                command, env={**os.environ, **OFFLINE}, capture_output=True, text=True, timeout=timeout_s
            )
            lines = runs.read_text().splitlines() if runs.exists() else []
            if len(lines) < len(planned):
                seed, side = planned[len(lines)]
                reason = "\n".join(ended.stderr.strip().splitlines()[-3:])
                lost = {"app": name, "seed": seed, "side": side, "crashed": f"exit {ended.returncode}: {reason}"}
                runs.write_text("".join(f"{line}\n" for line in [*lines, json.dumps(lost)]))
            if len(lines) == done and done == 0:
                break  # not even the first: its packages are missing
        return [json.loads(line) for line in runs.read_text().splitlines()]


def line(found: dict) -> str:
    """Return a row as text."""
    if "bytes" not in found:
        return f"{found['app']:38s} {found['side']:8s} CRASHED {found['crashed']}"
    same = "identical" if found["identical"] else f"{found['difference']:+.4f}"
    return (
        f"{found['app']:38s} {found['side']:8s} {found['stock_bytes']:12,.0f} -> {found['bytes']:12,.0f} B "
        f"{found['ratio']:6.1f}x  {found['stock_metric']:.4f} -> {found['metric']:.4f} ({same}), "
        f"failures {found['stock_failures']} -> {found['failures']}"
        + (f", CRASHED {found['crashed']}" * bool(found["crashed"]))
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=Path, required=True, help="Flower's examples folder")
    parser.add_argument("--older", type=Path, help="an older one, with NumPyClient and client_fn apps")
    parser.add_argument("--data", type=Path, default=os.environ.get("THINWIRE_DATA"), help="local data sets")
    parser.add_argument("--only", action="append", help="the name of an app; may be repeated")
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds (default 3)")
    parser.add_argument("--rounds", type=int, help="other than what the examples ask for, to try them quickly")
    parser.add_argument("--sides", nargs="+", default=["stock", "auto", "lossless"])
    parser.add_argument("--out", type=Path, default=Path("results/flower-examples.json"))
    parser.add_argument("--runs", type=Path, help="run the app that --only names here, and write its runs as JSON")
    args = parser.parse_args()
    chosen = [a for a in apps() if (not args.only or a.name in args.only) and (args.older or not a.older)]
    if args.runs:
        args.data = Path(args.data)
        one(next(app for app in chosen if app.name == args.only[-1]), args)
        return
    rows, runs = [], []
    for app in chosen:
        runs += (done := in_a_process(app.name, args))
        for side in args.sides[1:]:
            rows.append(row(app.name, done, side))
            print(line(rows[-1]), flush=True)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(
        json.dumps({"schema": "thinwire.flower-examples/1", "rows": rows, "runs": runs}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
