"""Deploy `examples/flower_app` for real on loopback and compare its bytes with the embedded engine's.

A SuperLink with TLS, SuperNodes that reach it through a counting TCP proxy, `flwr run`; then the same app with the
same config on LocalGrid. Three counts per direction: payload (thinwire's ledger), engine (what Flower serializes) and
wire (TCP bytes at the SuperLink's port, TLS, HTTP and polling included). Writes one JSON, schema "thinwire.deploy/1".
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

from loopback import Certificates, CountingProxy, free_ports, is_listening, make_certificates, process, wait_until

from thinwire.files import write_files

ROOT = Path(__file__).parents[1]
APP = ROOT / "examples" / "flower_app"
BIN = Path(sys.executable).parent
CONNECT_S = 90.0
SWITCHES = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1",
    "OMP_NUM_THREADS": "1",
}


@dataclass(frozen=True)
class Settings:
    """What is run, in both engines alike."""

    hidden: int = 64
    rounds: int = 3
    uplink: str = "auto"
    downlink: str = "auto"
    nodes: int = 2
    run_timeout_s: float = 600.0


class DeployError(RuntimeError):
    """The deployment did not come up, or its run did not end well; the message holds the end of its logs."""


def deploy(settings: Settings, keep_logs: Path | None = None) -> dict[str, Any]:
    """Run both engines and return the JSON-able comparison; logs go to `keep_logs`, else they are thrown away."""
    with tempfile.TemporaryDirectory(prefix="thinwire-deploy-") as temporary:
        folder = Path(temporary)
        try:
            deployed, local = run_deployed(settings, folder), run_embedded(settings, folder)
        finally:
            if keep_logs:
                _copy_logs(folder, keep_logs)
    return {
        "schema": "thinwire.deploy/1",
        "config": asdict(settings),
        "environment": _environment(),
        "deployed": deployed,
        "embedded": local,
        "payload_equal": _sizes(deployed) == _sizes(local),
        "metrics_equal": _scores(deployed) == _scores(local),
    }


def executables_missing() -> list[str]:
    """The programs of flwr that a deployment needs and this environment lacks."""
    return [name for name in ("flwr", "flower-superlink", "flower-supernode") if not (BIN / name).exists()]


def run_embedded(settings: Settings, folder: Path) -> dict[str, Any]:
    """The app on LocalGrid, in this process."""
    config = _write_config(settings, folder, "embedded")
    sys.path.insert(0, str(APP))
    from flower_app import local

    start = time.monotonic()
    grid = local.main(["--nodes", str(settings.nodes), "--config", str(config)])
    engine = Counter[str]()
    for moved in grid.traffic:
        engine[f"{moved.direction}_bytes"] += moved.engine_bytes
    return _results(folder, "embedded") | {"engine": dict(engine), "run_s": round(time.monotonic() - start, 3)}


def run_deployed(settings: Settings, folder: Path) -> dict[str, Any]:
    """The app on a SuperLink and SuperNodes with TLS, all on 127.0.0.1."""
    superlink_port, *node_ports = free_ports(1 + settings.nodes)
    certificates, env = make_certificates(folder), _write_home(folder, superlink_port)
    with ExitStack() as stack:
        start = time.monotonic()
        stack.enter_context(process(_superlink(superlink_port, certificates), folder / "superlink.log", env))
        # A SuperNode retries a refused connection, but gives up on one that a proxy took and could not pass on.
        if not wait_until(lambda: is_listening(superlink_port), CONNECT_S):
            raise DeployError(f"the SuperLink did not start in {CONNECT_S:.0f} s{_log_ends(folder)}")
        proxy = stack.enter_context(CountingProxy(superlink_port))
        for index, port in enumerate(node_ports):
            command = _supernode(index, port, settings.nodes, proxy.port, certificates)
            stack.enter_context(process(command, folder / f"supernode-{index}.log", env))
        _wait_for_nodes(folder, settings.nodes)
        connect_s, before, start = time.monotonic() - start, proxy.bytes(), time.monotonic()
        traffic = _run_app(settings, folder, env)
        run_s, after = time.monotonic() - start, proxy.bytes()
    return _results(folder, "deployed") | {
        "engine": {"up_bytes": traffic["inbound-bytes"], "down_bytes": traffic["outbound-bytes"]},
        "wire": {f"{way}_bytes": after[way] - before[way] for way in ("up", "down")},
        "connect_s": round(connect_s, 3),
        "run_s": round(run_s, 3),
    }


def _superlink(port: int, certificates: Certificates) -> list[str]:
    tls = ["--ssl-ca-certfile", str(certificates.ca), "--ssl-certfile", str(certificates.server)]
    tls += ["--ssl-keyfile", str(certificates.key)]
    return [str(BIN / "flower-superlink"), *tls, "--port", str(port), "--disable-runtime-dependency-installation"]


def _supernode(index: int, port: int, nodes: int, superlink_port: int, certificates: Certificates) -> list[str]:
    address = ["--superlink", f"127.0.0.1:{superlink_port}", "--port", str(port)]
    config = ["--node-config", f"partition-id={index} num-partitions={nodes}"]
    return [str(BIN / "flower-supernode"), "--root-certificates", str(certificates.ca), *address, *config]


def _write_home(folder: Path, superlink_port: int) -> dict[str, str]:
    home = folder / "home"
    home.mkdir()
    connection = f'address = "127.0.0.1:{superlink_port}"\nroot-certificates = "{folder / "ca.crt"}"\n'
    (home / "config.toml").write_text(f'[superlink]\ndefault = "loopback"\n\n[superlink.loopback]\n{connection}')
    path = f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}"
    return os.environ | SWITCHES | {"FLWR_HOME": str(home), "PATH": path}


def _write_config(settings: Settings, folder: Path, engine: str) -> Path:
    config: dict[str, int | str] = {"hidden": settings.hidden, "num-server-rounds": settings.rounds}
    config |= {"uplink": settings.uplink, "downlink": settings.downlink}
    config |= {name: str(folder / f"{engine}-{name}.json") for name in ("ledger", "metrics")}
    path = folder / f"{engine}.toml"
    path.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in config.items()))
    return path


def _wait_for_nodes(folder: Path, nodes: int) -> None:
    logs = [folder / f"supernode-{index}.log" for index in range(nodes)]
    if not wait_until(lambda: all("SuperNode ID" in log.read_text() for log in logs), CONNECT_S):
        raise DeployError(f"not all of {nodes} SuperNodes connected in {CONNECT_S:.0f} s{_log_ends(folder)}")


def _run_app(settings: Settings, folder: Path, env: dict[str, str]) -> dict[str, int]:
    """Submit the app, wait for its end, and return the traffic that Flower counted."""
    config = _write_config(settings, folder, "deployed")
    app = shutil.copytree(APP, folder / "app", ignore=shutil.ignore_patterns("__pycache__"))
    run_id = str(_flwr(folder, env, "run", str(app), "loopback", "-c", str(config))["run-id"])
    end = time.monotonic() + settings.run_timeout_s
    while time.monotonic() < end:
        # Each `flwr list` costs seconds of CPU: ask rarely until the server has written its last file.
        wait_until((folder / "deployed-metrics.json").exists, 15.0, poll_s=0.5)
        (run,) = _flwr(folder, env, "list", "loopback", "--run-id", run_id)["runs"]
        if run["status"] == "finished:completed":
            return run["network-traffic"]
        if run["status"].startswith("finished"):
            _save_run_log(run_id, folder, env)
            raise DeployError(f"the run ended as {run['status']!r}{_log_ends(folder)}")
    raise DeployError(f"the run did not end in {settings.run_timeout_s:.0f} s{_log_ends(folder)}")


def _save_run_log(run_id: str, folder: Path, env: dict[str, str]) -> None:
    with (folder / "serverapp.log").open("wb") as log:
        subprocess.run([str(BIN / "flwr"), "log", run_id, "loopback", "--show"], env=env, stdout=log, check=False)


def _flwr(folder: Path, env: dict[str, str], *command: str) -> dict[str, Any]:
    done = subprocess.run(
        [str(BIN / "flwr"), *command, "--format", "json"], env=env, capture_output=True, text=True, check=False
    )
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        answer = {"success": False}
    if not answer.get("success"):
        raise DeployError(f"flwr {command[0]} failed: {done.stdout}{done.stderr}{_log_ends(folder)}")
    return answer


def _results(folder: Path, engine: str) -> dict[str, Any]:
    ledger = json.loads((folder / f"{engine}-ledger.json").read_text())
    rounds = json.loads((folder / f"{engine}-metrics.json").read_text())["rounds"]
    payload = Counter[str]()
    for transfer in ledger["transfers"]:
        payload[f"{transfer['direction']}_bytes"] += transfer["payload_bytes"]
    times = [each.pop("time_s") for each in rounds]
    for each, (before, after) in zip(rounds[1:], pairwise(times), strict=True):
        each["round_s"] = round(after - before, 3)
    return {"payload": dict(payload), "rounds": rounds, "transfers": ledger["transfers"]}


def _sizes(result: dict[str, Any]) -> list[tuple[Any, ...]]:
    """What both engines must agree on; node ids are random in a deployment."""
    keys = ("round", "direction", "kind", "payload_bytes", "dense_bytes")
    return sorted(tuple(transfer[key] for key in keys) for transfer in result["transfers"])


def _scores(result: dict[str, Any]) -> list[tuple[float, float]]:
    return [(each["accuracy"], each["loss"]) for each in result["rounds"]]


def _log_ends(folder: Path, lines: int = 30) -> str:
    ends = {log.name: "\n".join(log.read_text().splitlines()[-lines:]) for log in sorted(folder.glob("*.log"))}
    return "".join(f"\n--- {name}\n{end}" for name, end in ends.items())


def _copy_logs(folder: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for file in (*folder.glob("*.log"), *folder.glob("*.json")):
        shutil.copy(file, target)


def _environment() -> dict[str, str]:
    packages = {name: version(name) for name in ("torch", "flwr", "thinwire")}
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    return {"python": platform.python_version(), **packages, "machine": machine}


def main(argv: list[str] | None = None) -> int:
    default = Settings()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", type=int, default=default.hidden, help="model width; 1376 makes 2 M parameters")
    parser.add_argument("--rounds", type=int, default=default.rounds)
    parser.add_argument("--uplink", default=default.uplink)
    parser.add_argument("--downlink", default=default.downlink)
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "deploy.json")
    parser.add_argument("--keep-logs", type=Path, metavar="DIR", help="copy logs, ledgers and metrics here")
    args = parser.parse_args(argv)
    settings = replace(default, hidden=args.hidden, rounds=args.rounds, uplink=args.uplink, downlink=args.downlink)
    result = deploy(settings, args.keep_logs)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_files({args.out: json.dumps(result, indent=1) + "\n"})
    for engine in ("deployed", "embedded"):
        print(engine, {key: result[engine].get(key) for key in ("payload", "engine", "wire", "run_s")})
    print(f"payload equal: {result['payload_equal']}, metrics equal: {result['metrics_equal']}")
    return 0 if result["payload_equal"] else 1


if __name__ == "__main__":
    sys.exit(main())
