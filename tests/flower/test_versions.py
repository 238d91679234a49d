"""The stated range of flwr is the one that works, others are named in a sentence, and our log lines look right."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import DifferentialPrivacyClientSideFixedClipping, FedAvg

from thinwire.flower import LocalGrid, console, engine, versions

ROOT = Path(__file__).parents[2]
RANGE = "flwr>={}.{},<{}.{}".format(*versions.OLDEST, versions.NEWEST[0], versions.NEWEST[1] + 1)
logger = logging.getLogger("thinwire.flower.test")
console_handler = versions.find("console_handler", "flwr.supercore.logger", "flwr.common.logger")


def test_the_range_is_the_same_wherever_it_is_stated() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["optional-dependencies"]["flower"] == [RANGE]
    assert RANGE in versions._remedy()
    assert (
        "{}.{} to {}.{}".format(*versions.OLDEST, *versions.NEWEST)
        in (ROOT / "examples" / "flower_app" / "README.md").read_text()
    )


def test_names_are_found_where_a_release_has_them() -> None:
    assert versions.find("Context", "flwr.nowhere", "flwr.app") is not None
    assert versions.find("Context", "flwr.nowhere", optional=True) is None
    with pytest.raises(ImportError, match=r"no Nothing in flwr\.app or flwr\.nowhere") as caught:
        versions.find("Nothing", "flwr.app", "flwr.nowhere")
    assert caught.value.name == "flwr.app"


@pytest.mark.parametrize(
    ("version", "says"),
    [
        ("1.15.2", f"flwr 1.15.2 is installed; thinwire.flower works with flwr .*: pip install '{RANGE}'"),
        ("2.0.0", "flwr 2.0.0 is installed"),
        ("{}.{}.0".format(*versions.NEWEST), "but this one lacks a part .*no Moved in flwr.app"),
        (None, "flwr is not installed; .*pip install"),
    ],
)
def test_a_missing_name_is_a_sentence_about_flwr(
    version: str | None, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versions, "installed", lambda: version)
    with pytest.raises(ImportError, match="no Moved in") as missing:
        versions.find("Moved", "flwr.app")
    with pytest.raises(ImportError, match=says):
        versions.explain(missing.value)
    versions.explain(ModuleNotFoundError("No module named 'torch'", name="torch"))  # not flwr's: said as it is


def test_an_old_flwr_is_named_by_the_import_and_by_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "flwr").mkdir()
    (tmp_path / "flwr" / "__init__.py").touch()
    (tmp_path / "flwr-1.0.0.dist-info").mkdir()
    (tmp_path / "flwr-1.0.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: flwr\nVersion: 1.0.0\n")
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT / "src")])}
    for script in "import thinwire.flower", "from thinwire.cli import main; main(['federate'])":
        done = subprocess.run(
            [sys.executable, "-c", script], env=env, cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert "flwr 1.0.0 is installed; thinwire.flower works with" in done.stderr.splitlines()[-1]


def test_only_an_untested_flwr_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    tested = [versions.OLDEST, versions.NEWEST]
    for version in ["{}.{}.3".format(*release) for release in tested] + [None]:
        monkeypatch.setattr(versions, "installed", lambda version=version: version)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            versions.warn_if_untested()
    beyond = (versions.NEWEST[0], versions.NEWEST[1] + 1), (versions.OLDEST[0], versions.OLDEST[1] - 1)
    for version in ["{}.{}.0.dev20261101".format(*release) for release in beyond] + ["main"]:
        monkeypatch.setattr(versions, "installed", lambda version=version: version)
        with pytest.warns(UserWarning, match=f"flwr {version} is installed.*tested with.*pip install"):
            versions.warn_if_untested()


def test_private_names_do_what_they_say() -> None:
    app = ClientApp()
    app.train()(lambda message, context: Message(RecordDict(), reply_to=message))
    grid = LocalGrid(app, 1)
    message = Message(RecordDict(), 1, "train")
    (reply,) = grid.send_and_receive([message])
    assert (message.metadata.run_id, message.metadata.src_node_id) == (1, 0)
    assert (reply.metadata.run_id, reply.metadata.src_node_id, reply.metadata.dst_node_id) == (1, 1, 0)
    engine.set_message_id(reply, "a")
    engine.set_reply_to(reply, "b")
    assert (reply.metadata.message_id, reply.metadata.reply_to_message_id) == ("a", "b")


def test_the_key_of_the_clipping_norm_is_flwrs(initial_arrays: ArrayRecord, client_app: ClientApp) -> None:
    strategy = DifferentialPrivacyClientSideFixedClipping(FedAvg(), 0.0, 12.5, 2)
    (first, *_) = strategy.configure_train(1, initial_arrays, ConfigRecord(), LocalGrid(client_app, 2))
    assert first.content["config"][engine.CLIPPING_NORM_KEY] == 12.5


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What flwr's console handler prints; the logger "thinwire" starts as in a fresh process."""
    screen = io.StringIO()
    monkeypatch.setattr(console_handler, "stream", screen)
    monkeypatch.setattr(console.THINWIRE, "handlers", [])
    fresh = {console.FLWR: logging.DEBUG, console.THINWIRE: logging.NOTSET, console_handler: logging.INFO}
    before = {logs: logs.level for logs in fresh}
    for logs, level in fresh.items():
        logs.setLevel(level)
    yield screen
    for logs, level in before.items():
        logs.setLevel(level)


def test_our_lines_appear_as_flowers_do(printed: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    logger.info("before")
    for _ in range(3):
        engine.show_log()
    logger.info("round %d", 1)
    logger.debug("detail")
    logging.getLogger("flwr").info("round 1")
    ours, flowers = printed.getvalue().splitlines()
    assert ours == flowers
    moved = io.StringIO()  # as flwr's mirror and redirection do
    monkeypatch.setattr(console_handler, "stream", moved)
    logger.info("round 2")
    assert "round 2" in moved.getvalue()


def test_the_level_is_flowers(printed: io.StringIO) -> None:
    console_handler.setLevel(logging.WARNING)  # as FLWR_LOG_LEVEL does when flwr is imported
    engine.show_log()
    logger.info("hidden")
    logger.warning("shown")
    assert "shown" in printed.getvalue()
    assert "hidden" not in printed.getvalue()


def test_debug_is_shown_where_flower_shows_it(printed: io.StringIO) -> None:
    console_handler.setLevel(logging.DEBUG)
    engine.show_log()
    logger.debug("detail")
    assert "detail" in printed.getvalue()


def test_quiet_holds_for_our_lines_and_not_for_caplog(
    printed: io.StringIO, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with engine.quiet_flwr(logging.ERROR):
        logger.warning("quiet one")  # also where nothing was set up, so that Python's last resort would print it
    engine.show_log()
    with caplog.at_level(logging.INFO, logger="thinwire"), engine.quiet_flwr(logging.WARNING):
        logger.info("quiet two")
        logger.warning("loud")
        with engine.quiet_flwr(logging.CRITICAL):
            logger.error("quiet three")
    logger.info("loud again")
    assert [record.message for record in caplog.records] == [
        "quiet one", "quiet two", "loud", "quiet three", "loud again"
    ]  # fmt: skip
    assert "quiet" not in printed.getvalue() + "".join(capfd.readouterr())
    assert printed.getvalue().count("loud") == 2


def test_what_the_application_configured_is_left_alone(
    printed: io.StringIO, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    ours = io.StringIO()
    monkeypatch.setattr(console.THINWIRE, "handlers", [logging.StreamHandler(ours)])
    engine.show_log()
    logger.info("below the root's level")
    logger.warning("mine")
    assert ours.getvalue() == "mine\n"
    monkeypatch.setattr(console.THINWIRE, "handlers", [logging.NullHandler()])  # configures nothing
    console.THINWIRE.setLevel(logging.ERROR)
    engine.show_log()
    logger.warning("below the level that was asked for")
    console.THINWIRE.setLevel(logging.NOTSET)
    monkeypatch.setattr(logging.getLogger(), "handlers", [logging.StreamHandler()])
    engine.show_log()
    logger.info("once, by the root logger's handler")
    assert printed.getvalue() == ""
    assert "once" in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("release", [versions.OLDEST, versions.NEWEST])
def test_both_ends_of_the_range_pass_these_tests(release: tuple[int, int], tmp_path: Path) -> None:
    """In an environment of its own, flwr's other dependencies shared with this one; needs a package index."""
    venv.create(tmp_path, with_pip=False, symlinks=True)
    python = tmp_path / "bin" / "python"
    site = Path(sysconfig.get_path("purelib", vars={"base": str(tmp_path)}))
    (site / "shared.pth").write_text(sysconfig.get_path("purelib"))
    wanted = "flwr=={}.{}.*".format(*release)
    installer = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps", wanted]
    if (done := subprocess.run(installer, capture_output=True, text=True, check=False)).returncode:
        pytest.skip(f"{wanted} could not be installed: {done.stderr.strip().splitlines()[-1]}")
    tests = [str(python), "-m", "pytest", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*tests, str(Path(__file__).parent)],
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
