"""Every output file: whole or not at all, under no name that can be guessed, through no link, with its mode kept."""

from __future__ import annotations

import os
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from thinwire.files import Over, check_target, create, replaced, swept, write_files

Write = Callable[[Path, Over], None]


def by_block(path: Path, over: Over = "file") -> None:
    with replaced(path, over) as file:
        file.write(b"new")


def by_contents(path: Path, over: Over = "file") -> None:
    write_files({path: "new"}, over)


@pytest.fixture(params=[by_block, by_contents], ids=lambda one: one.__name__)
def write(request: pytest.FixtureRequest) -> Write:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("umask")
def test_a_new_file_has_what_the_umask_leaves_and_an_old_one_keeps_its_mode(write: Write, tmp_path: Path) -> None:
    write(tmp_path / "new", "file")
    assert mode(tmp_path / "new") == 0o640
    for kept in (0o600, 0o666, 0o444, 0o755):
        (tmp_path / "old").write_text("old")
        (tmp_path / "old").chmod(kept)
        write(tmp_path / "old", "file")
        assert mode(tmp_path / "old") == kept
        assert (tmp_path / "old").read_bytes() == b"new"
        (tmp_path / "old").chmod(0o600)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "old"]


def test_the_draft_of_a_private_file_is_private_and_its_name_is_no_ones_guess(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("old")
    (tmp_path / "key").chmod(0o600)
    names = set()
    for _ in range(3):
        with replaced(tmp_path / "key"):
            (draft,) = [path for path in tmp_path.iterdir() if path.name != "key"]
            names.add(draft.name)
            assert mode(draft) == 0o600
            assert str(os.getpid()) not in draft.name.split("-")
    assert len(names) == 3


def test_what_was_planted_beside_is_neither_followed_nor_touched(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    monkeypatch.setattr("thinwire.files.secrets.token_hex", lambda _: "guessed")
    (tmp_path / ".thinwire-guessed").symlink_to(victim)
    with pytest.raises(FileExistsError):
        write(tmp_path / "out", "file")
    assert victim.read_text() == "precious"
    assert (tmp_path / ".thinwire-guessed").is_symlink()
    with pytest.raises(OSError):
        create(tmp_path / ".thinwire-guessed")


def test_a_link_is_replaced_and_never_written_through(write: Write, tmp_path: Path) -> None:
    victim, link = tmp_path / "victim", tmp_path / "link"
    victim.write_text("precious")
    link.symlink_to(victim)
    with pytest.raises(FileExistsError, match="there already"):
        write(link, "nothing")
    write(link, "file")
    assert (victim.read_text(), link.is_symlink(), link.read_text()) == ("precious", False, "new")


@pytest.mark.parametrize("target", ["nowhere", "loop"])
def test_a_link_to_nothing_is_refused_unless_it_may_go(write: Write, target: str, tmp_path: Path) -> None:
    link = tmp_path / "loop"
    link.symlink_to(tmp_path / target)
    for over in ("nothing", "file"):
        for refuse in (write, check_target):
            with pytest.raises(FileExistsError, match="link to nothing; remove it"):
                refuse(link, over)
    assert link.is_symlink()
    write(link, "link")
    assert (link.is_symlink(), link.read_text()) == (False, "new")
    assert [path.name for path in tmp_path.iterdir()] == ["loop"]


def test_folders_and_devices_are_never_replaced(write: Write, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("/dev/null")
    for name, said in (("pipe", "no regular file"), ("link", "no regular file"), ("folder", "is a folder")):
        for refuse in (write, check_target):
            with pytest.raises(OSError, match=said):
                refuse(tmp_path / name, "link")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "link", "pipe"]
    assert (tmp_path / "link").is_symlink()


def test_what_came_in_the_meantime_is_not_replaced(tmp_path: Path) -> None:
    def slow() -> None:
        with replaced(tmp_path / "out", "nothing") as file:
            file.write(b"ours")
            (tmp_path / "out").write_text("theirs")

    with pytest.raises(FileExistsError):
        slow()
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("out", "theirs")]


def test_without_hard_links_the_file_still_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("thinwire.files.os.link", refuse)
    by_block(tmp_path / "out", "nothing")
    with pytest.raises(FileExistsError):
        by_block(tmp_path / "out", "nothing")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("out", "new")]


def test_an_error_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")

    def half() -> None:
        with replaced(tmp_path / "a") as file:
            file.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half()
    with pytest.raises(OSError):
        write_files({tmp_path / "a": "new", tmp_path / "nowhere" / "b": "new"})
    with pytest.raises(UnicodeEncodeError):
        write_files({tmp_path / "a": "new", tmp_path / "b": "\ud800"})
    with pytest.raises(OSError):
        check_target(tmp_path / "nowhere" / "b")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a", "old")]


def test_names_as_long_as_they_may_be_can_be_written(write: Write, tmp_path: Path) -> None:
    long = tmp_path / ("n" * 255)
    check_target(long)
    write(long, "file")
    assert long.read_bytes() == b"new"


def test_a_full_disk_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    """A limit on the size of files is a full disk that a test can have."""
    signal_before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limit_before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 12, limit_before[1]))
        for refuse in (check_target, lambda path: write_files({path: "x" * 100_000})):
            with pytest.raises(OSError, match="big"):
                refuse(tmp_path / "big")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit_before)
        signal.signal(signal.SIGXFSZ, signal_before)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_swept_unless_it_was_moved(tmp_path: Path) -> None:
    for moved in (False, True):
        with swept(tmp_path / "draft"):
            (tmp_path / "draft").mkdir()
            (tmp_path / "draft" / "x").write_text("x")
            if moved:
                os.replace(tmp_path / "draft", tmp_path / "whole")
    assert [path.name for path in tmp_path.iterdir()] == ["whole"]


WRITER = """
import os, sys, time
from pathlib import Path
from thinwire.files import replaced, swept
place = Path(sys.argv[1])
with swept(place / "folder"), replaced(place / "out") as file:
    (place / "folder").mkdir()
    file.write(b"half")
    if sys.argv[2] == "fork":
        child = os.fork()
        if child == 0:
            os.kill(os.getpid(), 15)
        os.waitpid(child, 0)
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize(
    ("ending", "fork"),
    [(signal.SIGTERM, ""), (signal.SIGINT, ""), (signal.SIGHUP, ""), (signal.SIGTERM, "fork")],
    ids=["term", "int", "hup", "fork"],
)
def test_a_signal_leaves_nothing_and_ends_the_process_as_ever(tmp_path: Path, ending: int, fork: str) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path), fork]

    def heed() -> None:
        """Also where these tests run in the background, or under nohup, which have it ignored."""
        signal.signal(ending, signal.SIG_DFL)

    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, preexec_fn=heed) as process:
        assert process.stdout is not None
        process.stdout.readline()
        # A child of the writer that was ended has left its parent's files alone.
        assert len(list(tmp_path.iterdir())) == 2
        process.send_signal(ending)
        process.wait(60)
    assert process.returncode in (-ending, 130)
    assert list(tmp_path.iterdir()) == []
