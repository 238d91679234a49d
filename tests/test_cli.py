"""The command line: what it prints, what it refuses in one sentence, and which flags it has."""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import thinwire as tw
from thinwire.cli import main, numbers
from thinwire.cli.parser import build
from thinwire.lab.tasks import Task

TINY = ["--clients", "2", "--rounds", "1", "--local-epochs", "1", "--batch-size", "64"]
RUN = {
    "--task", "--data", "--strategy", "--clients", "--partition", "--rounds", "--rows", "--fraction-train",
    "--local-epochs", "--batch-size", "--optimizer", "--lr", "--momentum", "--uplink", "--downlink", "--out", "--quiet",
}  # fmt: skip
TRAINING = {
    "--density", "--use-pipeline", "--model", "--dataset", "--data", "--limit-rows", "--context", "--augment",
    "--epochs", "--steps", "--batch-size", "--gpus", "--workers", "--optimizer", "--lr", "--momentum",
    "--weight-decay", "--clip-norm", "--schedule", "--warmup", "--amp",
}  # fmt: skip
FLAGS = {
    "compare": RUN | {"--only", "--seeds", "--jobs", "--fresh", "--distributed"},
    "compare --distributed": TRAINING | {
        "--distributed", "--only", "--seeds", "--jobs", "--fresh", "--compressor", "--simulate", "--out", "--quiet",
    },
    "federate": RUN | {"--seed"},
    "train": TRAINING | {
        "--compressor", "--seed", "--simulate", "--out", "--resume", "--fresh", "--checkpoint-steps", "--tensorboard",
        "--quiet",
    },
    "report": {"--out"},
    "bench": set(),
    "bench selectors": {
        "--sources", "--methods", "--densities", "--elements", "--repeats", "--threads", "--seed", "--data", "--out",
        "--show", "--quiet",
    },
    "bench codecs": {"--updates", "--codecs", "--data", "--seed", "--quick", "--out", "--show", "--quiet"},
    "advise": {
        "--task", "--checkpoint", "--model", "--base", "--data", "--sample", "--seed", "--bandwidth", "--trace",
        "--rtt",
        "--direction", "--clients", "--compute", "--methods", "--nmse", "--threads", "--json", "--quiet",
    },
    "pack": {
        "--base", "--lossless", "--bound", "--budget", "--ratio", "--codec", "-o", "--out", "--seed", "--force",
        "--quiet",
    },
    "unpack": {"--base", "-o", "--out", "--max-size", "--force", "--quiet"},
    "inspect": {"--schema", "--round", "--node"},
    "list": set(),
}  # fmt: skip


def test_the_flags_are_these_and_no_others() -> None:
    top, parsers = build()
    found = {name: _flags(parser) - {"-h", "--help"} for name, parser in parsers.items()}
    assert found == FLAGS
    assert _flags(top) == {"-h", "--help", "--version"}


def _flags(parser) -> set[str]:
    return {flag for action in parser._actions for flag in action.option_strings}


@pytest.mark.parametrize("command", [[], *[name.split() for name in FLAGS]])
def test_help_teaches(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    text = capsys.readouterr().out
    assert ended.value.code == 0
    assert text.split("examples:")[1].count("thinwire") >= 3
    parser = build()[1].get(" ".join(command))
    for action in parser._actions if parser else ():
        if action.option_strings and action.dest != "help":
            assert action.help, action.option_strings
            assert "default" in action.help or action.dest in ("uplink", "downlink"), action.option_strings


def test_version_and_no_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert (ended.value.code, capsys.readouterr().out) == (0, f"thinwire {tw.__version__}\n")
    assert main([]) == 0
    assert "compare" in capsys.readouterr().out


BAD_RUNS = [
    (["--task", "digit"], "'digit'", "digits"),
    (["--uplink", "TopK(0)"], "density", "0"),
    (["--uplink", "TopK(2)"], "density", "2"),
    (["--downlink", "Uniform(bits=0)"], "bits", "0"),
    (["--uplink", "Uniform(bits=40)"], "40", "1 to 16"),
    (["--uplink", "Uniforn(bits=4)"], "'Uniforn'", "'Uniform'"),
    (["--uplink", "TopK(0.1, vals=Raw())"], "'vals'", "'values'"),
    (["--uplink", "TopK(0.1"], "'TopK(0.1'", "expected"),
    (["--strategy", "FedAvgg"], "'FedAvgg'", "'FedAvg'"),
    (["--strategy", "FedAvgM(momentum=1)"], "'momentum'", "'server_momentum'"),
    (["--strategy", "Krum(num_malicious_nodes='x')"], "num_malicious_nodes", "'x'"),
    (["--strategy", "Krum("], "'Krum('", "FedAvgM"),
    (["--partition", "dirichle(1)"], "'dirichle'", "dirichlet"),
    (["--partition", "dirichlet(x)"], "dirichlet", "number"),
    (["--optimizer", "Adagrat"], "'Adagrat'", "Adagrad"),
    (["--rounds", "0"], "rounds", "0"),
    (["--rounds", "x"], "--rounds", "'x'"),
    (["--clients", "5000"], "5000", "clients"),
    (["--lr", "-1"], "lr", "-1"),
    (["--momentum", "1"], "momentum", "1"),
    (["--fraction-train", "0"], "fraction-train", "0"),
    (["--rows", "0"], "rows", "0"),
    (["--lr", "inf"], "--lr", "'inf'"),
    (["--lr", "nan"], "--lr", "'nan'"),
    (["--strategy", "FedAdam(eta=1e999)"], "eta", "finite"),
    (["--strategy", "FedTrimmedAvg(beta=5)"], "FedTrimmedAvg", "beta"),
    (["--task", "adult", "--data", "nowhere"], "nowhere", "adult.data"),
    (["--round", "3"], "'--round'", "'--rounds'"),
    (["extra"], "'extra'", "too many"),
]
BAD = [
    *[(["compare", *words], *named) for words, *named in BAD_RUNS],
    *[(["federate", *words], *named) for words, *named in BAD_RUNS],
    (["compare", "--only", "auto,quantise+lowrank"], "'quantise+lowrank'", "'quantize+lowrank'"),
    (["compare", "--only", ""], "configuration", "auto"),
    (["compare", "--seeds", "0"], "seeds", "0"),
    (["compare", "--jobs", "0"], "jobs", "0"),
    (["compare", "--out", "file"], "file", "--out"),
    (["federate", "--seed", "-1"], "seed", "-1"),
    (["federate", "--out", "folder"], "folder", "file"),
    (["federate", "--out", "file/run.json"], "file", "--out"),
    (["report", "nowhere"], "nowhere", "compare"),
    (["report", "folder"], "folder", "compare"),
    (["report"], "FOLDER", "--help"),
    (["bench", "selektors"], "'selektors'", "'selectors'"),
    (["bench", "--quick"], "'--quick'", "--help"),
    (["bench", "selectors", "--sources", "gtp-1"], "'gtp-1'", "gpt-1"),
    (["bench", "selectors", "--methods", "topkk"], "'topkk'", "topk"),
    (["bench", "selectors", "--densities", "0.1,2"], "densities", "2"),
    (["bench", "selectors", "--densities", "x"], "'x'", "numbers"),
    (["bench", "selectors", "--densities", ""], "density", "0.01"),
    (["bench", "selectors", "--elements", "0"], "elements", "0"),
    (["bench", "selectors", "--threads", "9999"], "threads", "9999"),
    (["bench", "selectors", "--data", "folder"], "folder", "tinyshakespeare"),
    (["bench", "selectors", "--out", "file"], "file", "--out"),
    (["bench", "selectors", "--show", "nowhere.json"], "nowhere.json", "No such file"),
    (["bench", "selectors", "--show", "file"], "file", "JSON"),
    (["bench", "selectors", "--element", "5"], "'--element'", "'--elements'"),
    (["bench", "selectors", "extra"], "'extra'", "too many"),
    (["advise", "--bandwidth", "20Mbit", "--sample", "0B"], "'0B'", "1 byte or more"),
    (["advise", "--bandwidth", "20Mbit", "--sample", "0.5B"], "'0.5B'", "1 byte or more"),
    (["advise", "--bandwidth", "20Mbit", "--sample", "9" * 400 + "B"], "is no size", "64MB"),
    (["advise", "--bandwidth", "0Mbit"], "0.0", "more than 0"),
    (["advise", "--bandwidth", "nanMbit"], "'nanMbit'", "20Mbit"),
    (["advise", "--bandwidth", "9" * 400 + "Mbit"], "is no bandwidth", "20Mbit"),
    (["advise", "--bandwidth", "20Mbit", "--compute", "-1s"], "--compute", "expected one argument"),
    (["inspect", "nowhere"], "nowhere", "No such file"),
    (["inspect", "folder"], "folder", "directory"),
    (["inspect", "file"], "file", "frame"),
    (["inspect", "frame", "--schema", "frame"], "frame", "schema=True"),
    (["inspect", "frame", "--schema", "other"], "frame", "another schema"),
    (["list", "codec"], "'codec'", "'codecs'"),
    (["compar"], "'compar'", "'compare'"),
    (["--versio"], "'--versio'", "'--version'"),
]


@pytest.mark.parametrize(("words", "given", "hint"), BAD, ids=[" ".join(words) for words, *_ in BAD])
def test_bad_input_is_one_sentence(
    words: list[str], given: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("THINWIRE_DATA", raising=False)
    Path("folder").mkdir()
    Path("file").write_bytes(b"not what it should be, and long enough for the header of a frame")
    Path("frame").write_bytes(frame(schema=False))
    Path("other").write_bytes(frame(schema=True, name="other"))
    before = {path: path.is_file() and path.read_bytes() for path in Path().rglob("*")}
    assert main(words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert printed.err.startswith("thinwire")
    assert given in printed.err
    assert hint in printed.err
    assert {path: path.is_file() and path.read_bytes() for path in Path().rglob("*")} == before


NUMBERS = {
    "count": ["0", "-1", "1.5", "nan", "inf", "", "x", "1e3", "9" * 40, "0x10", "1_0"],
    "from_zero": ["-1", "0.5", "nan", "inf", "x"],
    "node": ["-1", "1.5", "x", "18446744073709551616"],
    "seed": ["-1", "4294967296", "1.0", "nan", "x"],
    "positive": ["0", "-1", "nan", "inf", "-inf", "1e999", "x", ""],
    "not_negative": ["-1", "nan", "inf", "1e999", "x"],
    "share": ["0", "-0.1", "1.01", "nan", "inf", "x"],
    "below_one": ["-0.1", "1", "nan", "inf", "x"],
    "ratio": ["0", "0.99", "-3", "nan", "inf", "x"],
}
GOOD = {
    "count": "7", "from_zero": "0", "node": "18446744073709551615", "seed": "4294967295", "positive": "1e-9",
    "not_negative": "0", "share": "1", "below_one": "0.9", "ratio": "1",
}  # fmt: skip


def test_every_number_of_every_command_is_of_a_kind() -> None:
    kinds = {getattr(numbers, name.upper()) for name in NUMBERS}
    for command, parser in build()[1].items():
        for action in parser._actions:
            assert action.type in {None, Path, *kinds}, (command, action.dest)
            assert (
                action.metavar not in ("N", "RATE", "SHARE", "NORM", "EPOCHS", "ERROR")
                or action.type in kinds
                or (action.dest == "bandwidth")
            ), (command, action.dest)


@pytest.mark.parametrize("name", NUMBERS)
def test_a_kind_of_number_refuses_what_it_cannot_be(name: str) -> None:
    kind = getattr(numbers, name.upper())
    assert kind(GOOD[name]) in (float(GOOD[name]), int(float(GOOD[name])), 2**64 - 1)
    for text in NUMBERS[name]:
        with pytest.raises(argparse.ArgumentTypeError, match=re.escape(f"{text!r} given, expected a")):
            kind(text)


def frame(schema: bool, name: str = "layer.weight") -> bytes:
    x = torch.linspace(-1, 1, 1200).reshape(30, 40)
    message = {name: tw.encode(tw.parse("Uniform(bits=4)"), x), "layer.bias": tw.encode(tw.Raw(), x[0])}
    return tw.dumps(message, schema=schema)


def test_inspect_explains_every_tensor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own, bare = tmp_path / "own", tmp_path / "bare"
    own.write_bytes(frame(schema=True))
    bare.write_bytes(frame(schema=False))
    assert main(["inspect", str(own)]) == 0
    text = capsys.readouterr().out
    row = next(line for line in text.splitlines() if line.startswith("layer.weight"))
    assert row.split() == ["layer.weight", "30x40", "float32", "Uniform(bits=4,", "...)", "608", "4.053", "7.89"]
    assert f"{len(frame(schema=True)):,} bytes" in text
    assert main(["inspect", str(bare)]) == 0
    text = capsys.readouterr().out
    assert "--schema" in text
    assert "Uniform(bits=4, ...)" in text
    assert "layer.weight" not in text
    assert main(["inspect", str(bare), "--schema", str(own)]) == 0
    assert row in capsys.readouterr().out


def test_a_damaged_frame_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = bytearray(frame(schema=True))
    data[-9] ^= 1
    (tmp_path / "x").write_bytes(data)
    assert main(["inspect", str(tmp_path / "x")]) == 2
    assert "checksum" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("codecs", ["TopK", "Uniform", "LowRank"]),
        ("methods", ["auto", "topk-int8"]),
        ("policies", ["ByVolume", "ErrorBound"]),
        ("tasks", ["digits", "adult"]),
        ("models", ["small-cnn", "resnet18"]),
        ("datasets", ["digits", "cifar10"]),
    ],
)
def test_lists_have_one_line_each(what: str, names: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", what]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in lines} >= set(names)
    assert all(len(line.split()) > 2 for line in lines)
    assert main(["list"]) == 0
    assert set(lines) <= set(capsys.readouterr().out.splitlines())


def test_federate_prints_rounds_and_writes_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "run.json"
    assert main(["federate", *TINY, "--uplink", "TopK(0.1)", "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert [line.split()[0] for line in text.splitlines()[:3]] == ["round", "0", "1"]
    result = json.loads(out.read_text())
    assert (result["group"], result["config"]["uplink"]) == ("topk-0.1+auto", "TopK(0.1)")
    assert main(["federate", *TINY, "--uplink", "", "--downlink", "", "--quiet"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("uncompressed")
    assert text.count("\n") == 1


def test_a_run_that_leaves_the_numbers_has_failed(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(Task, "evaluate", lambda *_: (math.nan, math.nan))
    assert main(["federate", *TINY, "--quiet"]) == 1
    assert "accuracy is nan" in capsys.readouterr().err


def test_compare_resumes_adds_and_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    command = ["compare", *TINY, "--seeds", "1", "--only", "auto", "--jobs", "2", "--out", str(out)]
    assert main(command) == 0
    text = capsys.readouterr().out
    assert text.startswith("[1/2] ")
    assert f"report: {out / 'report.html'}" in text
    files = {file: file.stat().st_mtime_ns for file in (out / "runs").iterdir()}
    assert {file.name for file in files} == {"uncompressed-seed0.json", "auto-seed0.json"}
    starts = [json.loads(file.read_text())["rounds"][0]["loss"] for file in files]
    assert starts[0] == starts[1]
    assert main([*command, "--uplink", "TopK(0.1)", "--quiet"]) == 0
    text = capsys.readouterr().out
    assert "1 runs in" in text
    assert "topk-0.1+none" in text
    assert {file: file.stat().st_mtime_ns for file in files} == files
    assert main([*command, "--lr", "0.5"]) == 2
    assert "--fresh" in capsys.readouterr().err
    assert {file: file.stat().st_mtime_ns for file in files} == files
    (out / "report.html").unlink()
    assert main(["report", str(out)]) == 0
    assert (out / "report.html").exists()
    assert "topk-0.1+none" in capsys.readouterr().out


def heed_ctrl_c() -> None:
    """What a shell starts in the background ignores Ctrl-C, and so do its children: the tests may be such."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    words = ["compare", "--clients", "2", "--rounds", "20", "--seeds", "1", "--only", "auto", "--jobs", "1"]
    command = [sys.executable, "-m", "thinwire.cli", *words, "--out", str(tmp_path / "out")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, preexec_fn=heed_ctrl_c
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"[1/2] uncompressed-seed0")
        os.killpg(process.pid, signal.SIGINT)
        try:
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert b"stopped: 1 of 2 runs are finished" in out
    assert err == b""
    assert [file.name for file in (tmp_path / "out" / "runs").iterdir()] == ["uncompressed-seed0.json"]


@pytest.mark.parametrize(
    ("package", "words"),
    [
        ("flwr", ["federate"]),
        ("sklearn", ["federate"]),
        ("jinja2", ["report", "."]),
        ("flwr", ["compare"]),
        ("sklearn", ["bench", "selectors", "--sources", "gpt-1"]),
        ("markupsafe", ["bench", "selectors"]),
    ],
)
def test_a_missing_extra_is_named_with_the_command_that_brings_it(
    package: str, words: list[str], tmp_path: Path
) -> None:
    script = f"import sys; sys.modules[{package!r}] = None; from thinwire.cli import main; sys.exit(main({words!r}))"
    env = {name: value for name, value in os.environ.items() if name != "THINWIRE_DATA"}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=env, timeout=120)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert f"{package} is not installed" in done.stderr
    assert "pip install 'thinwire[lab]'" in done.stderr


def test_help_loads_neither_flower_nor_the_tasks() -> None:
    script = "import sys; from thinwire.cli.parser import build; build(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    assert not {"flwr", "sklearn", "rich", "jinja2", "thinwire.lab.tasks"} & set(done.stdout.split())
