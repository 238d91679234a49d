"""The example app runs in process and deployed, and both send the same bytes."""

from __future__ import annotations

import dataclasses
import importlib
import json
import socket
import ssl
import threading
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def loopback(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    pytest.importorskip("cryptography")
    monkeypatch.syspath_prepend(ROOT / "bench")
    return importlib.import_module("loopback")


@pytest.fixture
def deploy(loopback: ModuleType) -> ModuleType:
    return importlib.import_module("deploy")


@pytest.fixture
def local_app(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    pytest.importorskip("sklearn")
    monkeypatch.syspath_prepend(ROOT / "examples" / "flower_app")
    return importlib.import_module("flower_app.local")


def test_the_example_learns_in_process_and_writes_its_files(local_app: ModuleType, tmp_path: Path) -> None:
    files = [f'{name} = "{tmp_path / name}.json"' for name in ("ledger", "metrics")]
    grid = local_app.main(["--nodes", "3", "num-server-rounds = 3", "hidden = 32", *files])
    rounds = json.loads((tmp_path / "metrics.json").read_text())["rounds"]
    assert rounds[-1]["accuracy"] > rounds[0]["accuracy"] + 0.3
    transfers = json.loads((tmp_path / "ledger.json").read_text())["transfers"]
    assert len(transfers) == len(grid.traffic) == 3 * 3 * 2
    assert sum(t["payload_bytes"] for t in transfers) < sum(t.engine_bytes for t in grid.traffic)


def test_an_unknown_key_of_the_run_config_is_refused(local_app: ModuleType, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        local_app.main(["hiden = 32"])
    assert "hidden" in capsys.readouterr().err


def echo_once(server: socket.socket, context: ssl.SSLContext) -> None:
    with context.wrap_socket(server.accept()[0], server_side=True) as connection:
        while data := connection.recv(65536):
            connection.sendall(data)


def test_the_proxy_counts_and_the_certificates_hold(loopback: ModuleType, tmp_path: Path) -> None:
    certificates, body = loopback.make_certificates(tmp_path), bytes(200_000)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server, certificates.key)
    client = ssl.create_default_context(cafile=certificates.ca)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=echo_once, args=(server, context), daemon=True).start()
        with loopback.CountingProxy(server.getsockname()[1]) as proxy:
            plain = socket.create_connection(("127.0.0.1", proxy.port))
            with client.wrap_socket(plain, server_hostname="127.0.0.1") as connection:
                threading.Thread(target=connection.sendall, args=(body,), daemon=True).start()
                received = 0
                while received < len(body):
                    received += len(connection.recv(65536))
            counts = proxy.bytes()
    assert received == len(body)
    assert all(len(body) < count < len(body) + 10_000 for count in counts.values())


def test_a_process_ends_with_its_block(loopback: ModuleType, tmp_path: Path) -> None:
    with loopback.process(["sleep", "60"], tmp_path / "log", {}) as child:
        assert child.poll() is None
    assert child.returncode is not None


@pytest.mark.slow
def test_deployed_and_embedded_send_the_same_payload(deploy: ModuleType) -> None:
    if missing := deploy.executables_missing():
        pytest.skip(f"not installed beside this Python: {', '.join(missing)}")
    result = deploy.deploy(deploy.Settings(rounds=2, hidden=64))
    assert result["payload_equal"], (result["deployed"]["transfers"], result["embedded"]["transfers"])
    assert result["metrics_equal"]
    for way in ("up_bytes", "down_bytes"):
        layers = [result["deployed"][layer][way] for layer in ("payload", "engine", "wire")]
        assert layers == sorted(layers)


@pytest.mark.slow
@pytest.mark.parametrize("size", ["12M", "50M"])
def test_large_models_lose_no_message_and_little_memory(
    deploy: ModuleType, size: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real SuperLink and SuperNodes, train and evaluate: what Flower's Context loses above 12 M is not lost."""
    if missing := deploy.executables_missing():
        pytest.skip(f"not installed beside this Python: {', '.join(missing)}")
    if not Path("/proc/self/status").exists():
        pytest.skip("peak memory of other processes is read from /proc")
    monkeypatch.setenv("THINWIRE_STATE", str(tmp_path))
    large = importlib.import_module("large_models")
    settings = deploy.Settings(hidden=large.HIDDEN[size], rounds=2, fraction_evaluate=1.0, run_timeout_s=3000.0)
    ours = large.run(settings, None)
    assert (ours["results"], ours["failures"]) == (2 * 2 * 2, 0)
    assert ours["accuracy"][-1] > 0.9
    stock = large.run(dataclasses.replace(settings, stock=True), None)
    assert sum(ours["engine"].values()) < sum(stock["engine"].values()) / 10
    for kind, most in (("server", 1.3), ("client", 1.4)):
        assert ours["peak_mb"][kind] < most * stock["peak_mb"][kind], kind
