"""What commands print and write where that is hard: names of strangers, closed pipes, full disks, odd places."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import thinwire as tw
from thinwire.checkpoint import Lossless, pack
from thinwire.cli import main
from thinwire.cli.bad_input import Unwritten
from thinwire.cli.saving import save
from thinwire.errors import CheckpointError, PeerError, WireError, escaped, quoted
from thinwire.files import write_files

NASTY = "a\x1b]0;owned\x07\x1b[2J\r\n\u202egnp.exe\u2066\u200b\x9b31m\x00z"
safetensors = pytest.importorskip("safetensors.torch")


def shown(text: str) -> bool:
    """Whether a text may go to a terminal, line ends aside."""
    return all(line.isprintable() for line in text.split("\n"))


@pytest.mark.parametrize("text", [NASTY, "\ud800", "\u2028\u2029\x85", "\U000e0041", "größe 𝛼 漢字", "plain", ""])
def test_escaped_hides_nothing_and_says_all(text: str) -> None:
    for safe in (escaped(text), quoted(text)):
        assert safe.isprintable()
        safe.encode()
    assert escaped(escaped(text)) == escaped(text)
    if text.isprintable():
        assert escaped(text) == text
    else:
        assert escaped(text).encode().decode("unicode_escape").encode("utf-16", "surrogatepass")
    assert quoted(text) == repr(text)


def test_long_texts_are_cut_and_say_how_long_they_were() -> None:
    assert escaped("x" * 10**6, 50) == "x" * 50 + "... (1,000,000 characters)"
    assert quoted("\n" * 10**6, 2) == "'\\n\\n'... (1,000,000 characters)"


@pytest.mark.parametrize("kind", [WireError, CheckpointError, PeerError, tw.NonFiniteError])
def test_errors_are_one_line_of_bounded_length(kind: type[Exception]) -> None:
    text = str(kind(f"peer 3 says {NASTY * 1000}"))
    assert text.isprintable()
    assert len(text) < 20_000


def test_inspect_shows_names_of_strangers_escaped_and_cut(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / f"odd{NASTY[1:9]}.twf"
    names = [NASTY, "n" * 200, "\u05d0\u202e", "layer.weight"]
    file.write_bytes(tw.dumps({name: tw.encode(tw.Raw(), torch.zeros(3)) for name in names}, schema=True))
    assert main(["inspect", str(file)]) == 0
    text = capsys.readouterr().out
    assert shown(text)
    assert "a\\x1b]0;owned" in text
    assert "n" * 150 in text
    assert "n" * 190 not in text
    assert sum(line.startswith("layer.weight") for line in text.splitlines()) == 1
    assert text.count("\n") == 2 + 1 + 1 + len(names) + 1 + 2


def test_inspect_shows_a_packed_file_of_a_stranger_escaped(tmp_path: Path, capsys) -> None:
    metadata = {NASTY.replace("\x00", ""): "a\nforged: line\x1b[1m" + "y" * 1000}
    safetensors.save_file({NASTY: torch.zeros(3)}, tmp_path / "x", metadata)
    pack(tmp_path / "x", tmp_path / "x.tw", Lossless())
    assert main(["inspect", str(tmp_path / "x.tw")]) == 0
    text = capsys.readouterr().out
    assert shown(text)
    assert not any(line.lstrip().startswith("forged") for line in text.splitlines())
    assert "(1,018 characters)" in text


def test_complaints_name_strangers_escaped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, shape in (("new", 3), ("old", 4)):
        safetensors.save_file({NASTY: torch.zeros(2, shape), "b": torch.zeros(1)}, tmp_path / name)
    bad = tmp_path / f"{NASTY[1:9]}.twf"
    bad.write_bytes(b"\x1b[31m" * 30)
    link = ["--bandwidth", "1Mbit"]
    for words in (
        ["advise", "--checkpoint", str(tmp_path / "new"), "--base", str(tmp_path / "old"), *link],
        ["inspect", str(bad)],
        ["inspect", f"{bad}\n\x1b"],
        [f"\x1b[2J{NASTY[1:]}"[:-2]],
        ["list", "\x1b[2J"],
    ):
        assert main(words) == 2
        complaint = capsys.readouterr().err
        assert shown(complaint)
        assert complaint.count("\n") == 1


def run(words: list[str], shell: str = "", **more: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "thinwire.cli", *words]
    line = " ".join(f"'{word}'" for word in command) + " " + shell
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        ["bash", "-c", line], capture_output=True, text=True, timeout=120, **more
    )


@pytest.mark.parametrize(
    ("words", "buffered"), [(["list"], ""), (["inspect", "x.twf"], "1"), (["pack", "--help"], "1")], ids=str
)
def test_a_reader_that_leaves_ends_a_command_quietly(words: list[str], buffered: str, tmp_path: Path) -> None:
    message = {f"layer.{i}": tw.encode(tw.Raw(), torch.zeros(1)) for i in range(3000)}
    (tmp_path / "x.twf").write_bytes(tw.dumps(message, schema=True))
    env = os.environ | {"PYTHONUNBUFFERED": buffered}
    done = run(words, "| head -c 1; exit ${PIPESTATUS[0]}", cwd=tmp_path, env=env)
    assert (done.stderr, len(done.stdout)) == ("", 1)
    # Whether the little that help is fits into the pipe before its reader leaves is chance.
    assert done.returncode in (0, 141)


def test_the_code_of_a_pipe_that_is_closed_is_that_of_its_signal(tmp_path: Path) -> None:
    message = {"layer": tw.encode(tw.Raw(), torch.zeros(1))}
    (tmp_path / "x.twf").write_bytes(tw.dumps(message, schema=True))
    assert run(["inspect", "x.twf"], ">&-", cwd=tmp_path).stderr == ""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as gone:
        direct = subprocess.run([sys.executable, "-m", "thinwire.cli", "list"], stdout=gone, stderr=subprocess.PIPE)
    assert (direct.returncode, direct.stderr) == (128 + signal.SIGPIPE, b"")


@pytest.mark.parametrize(("words", "buffered"), [(["list"], ""), (["list"], "1"), (["--help"], "1")], ids=str)
def test_a_full_disk_behind_stdout_is_one_sentence(words: list[str], buffered: str) -> None:
    done = run(words, "> /dev/full", env=os.environ | {"PYTHONUNBUFFERED": buffered})
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "No space left on device" in done.stderr


def test_a_full_disk_under_a_file_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    safetensors.save_file({"x": torch.randn(500, 500)}, tmp_path / "x.safetensors")
    done = run(["pack", "x.safetensors"], cwd=tmp_path, preexec_fn=small_files)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "File too large" in done.stderr
    assert "x.safetensors.tw" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]


def small_files() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 18, 1 << 18))


def test_a_result_that_does_not_fit_is_kept_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    full = [True]

    def write(file: Path) -> list[Path]:
        if file.parent == tmp_path or full[0]:
            raise OSError(28, "No space left on device")
        write_files({file: "{}"})
        return [file]

    with pytest.raises(Unwritten, match=r"run\.json cannot be written \(No space.*nor can .*make room"):
        save(write, tmp_path / "run.json")
    assert list((tmp_path / "temporary").iterdir()) == []
    full[0] = False
    with pytest.raises(Unwritten, match="the result is in") as found:
        save(write, tmp_path / "run.json")
    assert Path(str(found.value).rpartition(" ")[2]).read_text() == "{}"


def test_advise_keeps_its_answer_where_nobody_reads_it(tmp_path: Path) -> None:
    words = ["advise", "--quiet", "--bandwidth", "1Mbit", "--methods", "int8", "--json", str(tmp_path / "a.json")]
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as gone:
        done = subprocess.run([sys.executable, "-m", "thinwire.cli", *words], stdout=gone, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (141, b"")
    assert json.loads((tmp_path / "a.json").read_text())["schema"] == "thinwire.advise/1"


LINKS = [
    ["federate", "--out"], ["bench", "selectors", "--out"], ["bench", "codecs", "--out"],
    ["advise", "--bandwidth", "1Mbit", "--json"], ["pack", "x.safetensors", "-o"],
]  # fmt: skip


@pytest.mark.parametrize("words", LINKS, ids=lambda words: words[0])
def test_places_that_cannot_be_are_refused_before_the_work(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    safetensors.save_file({"x": torch.zeros(5)}, "x.safetensors")
    Path("dangling.json").symlink_to("nowhere")
    Path("device.json").symlink_to("/dev/full")
    os.mkfifo("pipe.json")
    for name in ("dangling.json", "device.json", "pipe.json"):
        assert main([*words, name]) == 2
        assert name in capsys.readouterr().err
    assert sorted(os.listdir()) == ["dangling.json", "device.json", "pipe.json", "x.safetensors"]


def test_pack_replaces_a_link_to_nothing_with_force_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    safetensors.save_file({"x": torch.zeros(5)}, "x.safetensors")
    Path("x.tw").symlink_to("nowhere")
    assert main(["pack", "x.safetensors", "-o", "x.tw"]) == 2
    assert Path("x.tw").is_symlink()
    assert main(["pack", "x.safetensors", "-o", "x.tw", "--force"]) == 0
    assert not Path("x.tw").is_symlink()
    Path("back").symlink_to("nowhere")
    assert main(["unpack", "x.tw", "-o", "back"]) == 2
    assert main(["unpack", "x.tw", "-o", "back", "--force"]) == 0
    assert Path("back").read_bytes() == Path("x.safetensors").read_bytes()
    assert not Path("nowhere").exists()


def test_an_encoding_without_the_signs_prints_escapes(tmp_path: Path) -> None:
    (tmp_path / "x.twf").write_bytes(tw.dumps({"größe": tw.encode(tw.Raw(), torch.zeros(3))}, schema=True))
    done = run(["inspect", "x.twf"], cwd=tmp_path, env=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "gr\\xf6\\xdfe" in done.stdout
