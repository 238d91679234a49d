"""`thinwire pack`, `unpack` and `inspect` of what they make."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from checkpoint_files import everything, save, trained
from safetensors.torch import load_file

from thinwire.cli import main


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save(Path("old.safetensors"), everything(), {"format": "pt"})
    save(Path("new.safetensors"), trained(everything()), {"format": "pt"})
    return tmp_path


@pytest.mark.parametrize(
    "goal",
    [
        [],
        ["--lossless"],
        ["--bound", "nmse=0.01"],
        ["--budget", "20kB"],
        ["--ratio", "6"],
        ["--codec", "Step(relative=0.1)"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("base", [[], ["--base", "old.safetensors"]], ids=len)
def test_pack_inspect_unpack(files: Path, goal: list[str], base: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pack", "new.safetensors", *base, *goal, "-o", "x.tw"]) == 0
    text = capsys.readouterr().out
    assert text.count("\n") == 1
    assert ("of the difference" in text) == bool(base)
    assert main(["unpack", "x.tw", *base, "-o", "there/back.safetensors"]) == 0
    assert f"{Path('there/back.safetensors').stat().st_size:,} bytes" in capsys.readouterr().out
    assert load_file("there/back.safetensors").keys() == everything().keys()
    if goal in ([], ["--lossless"]):
        assert Path("there/back.safetensors").read_bytes() == Path("new.safetensors").read_bytes()
    if "--budget" in goal:
        assert 0.97 * 20_000 <= Path("x.tw").stat().st_size <= 20_000
    assert main(["inspect", "x.tw"]) == 0
    text = capsys.readouterr().out
    assert f"{Path('x.tw').stat().st_size:,} bytes" in text
    assert "format: pt" in text
    row = next(line for line in text.splitlines() if line.startswith("matrix torch.float32"))
    lossless = goal in ([], ["--lossless"])
    assert row.split()[2:5] == ["40x50", "F32", ("bits" if lossless else "difference") if base else "whole"]
    assert ("--base" in text) == bool(base)


def test_names_by_default(files: Path) -> None:
    assert main(["pack", "new.safetensors", "--quiet"]) == 0
    Path("new.safetensors").unlink()
    assert main(["unpack", "new.safetensors.tw", "--quiet"]) == 0
    assert Path("new.safetensors").exists()


BAD = [
    (["pack", "nowhere"], "nowhere", "No such file"),
    (["pack", "folder"], "folder", "index.json"),
    (["pack", "text"], "text", "safetensors"),
    (["pack"], "CHECKPOINT", "--help"),
    (["pack", "new.safetensors", "--base", "nowhere"], "nowhere", "No such file"),
    (["pack", "new.safetensors", "--base", "stranger.safetensors"], "stranger", "base"),
    (["pack", "new.safetensors", "--bound", "nmsee=1"], "'nmsee'", "'nmse'"),
    (["pack", "new.safetensors", "--bound", "0.1"], "'0.1'", "nmse=0.001"),
    (["pack", "new.safetensors", "--budget", "5MX"], "'5MX'", "--budget"),
    (["pack", "new.safetensors", "--budget", "100"], "100", "the least"),
    (["pack", "new.safetensors", "--ratio", "0.5"], "0.5", "1"),
    (["pack", "new.safetensors", "--ratio", "x"], "'x'", "--ratio"),
    (["pack", "new.safetensors", "--ratio", "2", "--bound", "nmse=0.1"], "--bound", "--ratio"),
    (["pack", "new.safetensors", "--codec", "Stepp()"], "'Stepp'", "'Step'"),
    (["pack", "new.safetensors", "--codec", "ErrorBound()"], "ErrorBound", "bound or a budget"),
    (["pack", "new.safetensors", "--seed", "-1"], "seed", "-1"),
    (["pack", "new.safetensors", "-o", "folder"], "folder", "-o"),
    (["pack", "new.safetensors", "-o", "text"], "text", "--force"),
    (["pack", "new.safetensors", "-o", "text/x"], "text", "folder"),
    (["pack", "new.safetensors", "-o", "new.safetensors", "--force"], "new.safetensors", "-o"),
    (["pack", "new.safetensors", "--bas", "x"], "'--bas'", "'--base'"),
    (["unpack", "nowhere", "-o", "x"], "nowhere", "No such file"),
    (["unpack", "text", "-o", "x"], "text", "packed checkpoint"),
    (["unpack", "text"], "text", "-o"),
    (["unpack", "d.tw"], "d.tw", "base"),
    (["unpack", "d.tw", "--base", "new.safetensors"], "d.tw", "differs"),
    (["unpack", "d.tw", "--base", "stranger.safetensors"], "stranger", "missing"),
    (["unpack", "d.tw", "--base", "old.safetensors", "--max-size", "1kB"], "1,000", "bytes"),
    (["unpack", "d.tw", "--base", "old.safetensors", "--max-size", "1"], "1", "bytes"),
    (["unpack", "d.tw", "--base", "old.safetensors", "-o", "text"], "text", "--force"),
    (["unpack", "cut.tw", "--base", "old.safetensors"], "cut.tw", "damaged"),
    (["inspect", "cut.tw"], "cut.tw", "damaged"),
    (["inspect", "d.tw", "--schema", "d.tw"], "d.tw", "--schema"),
]


@pytest.mark.parametrize(("words", "given", "hint"), BAD, ids=[" ".join(words) for words, *_ in BAD])
def test_bad_input_is_one_sentence_and_changes_nothing(
    files: Path, words: list[str], given: str, hint: str, capsys
) -> None:
    Path("folder").mkdir()
    Path("text").write_text("not what it should be, and long enough to be something")
    save(Path("stranger.safetensors"), {"y": torch.zeros(2)})
    main(["pack", "new.safetensors", "--base", "old.safetensors", "-o", "d.tw"])
    Path("cut.tw").write_bytes(Path("d.tw").read_bytes()[:-5])
    capsys.readouterr()
    before = {path: path.is_file() and path.read_bytes() for path in Path().rglob("*")}
    assert main(words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert given in printed.err
    assert hint in printed.err
    assert {path: path.is_file() and path.read_bytes() for path in Path().rglob("*")} == before


def test_no_extra_is_needed(files: Path) -> None:
    names = ("safetensors", "flwr", "sklearn", "matplotlib", "rich", "jinja2", "markupsafe")
    block = f"for name in {names!r}: sys.modules[name] = None"
    words = ["pack", "new.safetensors", "--budget", "30kB", "-o", "x.tw"]
    script = f"import sys\n{block}\nfrom thinwire.cli import main\nsys.exit(main({words!r}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


def test_progress_on_a_terminal(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("rich")
    monkeypatch.setattr("thinwire.cli.files.drawing", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    assert main(["pack", "new.safetensors", "--budget", "30kB", "-o", "x.tw"]) == 0
    text = capsys.readouterr().out
    assert "measure" in text
    assert "pack" in text
