"""`thinwire advise`: what it prints, what it writes, what it refuses in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from thinwire.cli import main
from thinwire.cli.advise import texts
from thinwire.lab.advise.synthetic import update

SHORT = ["--methods", "lossless,int8,TopK(0.05, values=Uniform(bits=8))"]


def test_a_fast_link_and_a_slow_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["advise", "--task", "digits", "--bandwidth", "100Gbit", *SHORT]) == 0
    text = capsys.readouterr().out
    assert "\nDo not compress: this link (100 Gbit/s) is faster than the codecs." in text
    assert main(["advise", "--bandwidth", "1Mbit", "--rtt", "50ms", "--compute", "12s", *SHORT]) == 0
    text = capsys.readouterr().out
    assert "\nCompress with int8: a round takes 12." in text
    assert "a round takes 12.0 s: 12.0 s of training, 25.0 ms of latency" in text


def test_the_table_has_a_line_for_every_option_and_marks_what_errs_too_much(capsys) -> None:
    assert (
        main(["advise", "--bandwidth", "1Mbit", "--nmse", "0.00001", "--direction", "both", "--clients", "4", *SHORT])
        == 0
    )
    lines = capsys.readouterr().out.splitlines()
    head = next(at for at, line in enumerate(lines) if line.startswith("option"))
    table = {line.split("  ")[0]: line for line in lines[head + 1 : head + 5]}
    assert list(table) == ["none", "lossless", "int8", "TopK(0.05, values=Uniform(bits=8))"]
    assert [" ! " in line for line in table.values()] == [False, False, True, True]
    assert any("down and up, 4 clients" in line for line in lines)


def test_the_answer_is_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, trace = tmp_path / "new" / "advice.json", tmp_path / "trace"
    trace.write_text("0 1\n10 2\n20 0.5\n30 0.5\n")
    words = ["--trace", str(trace), "--methods", "int8", "--json", str(file)]
    assert main(["advise", *words]) == 0
    text = capsys.readouterr().out
    assert "p95" in text
    assert f"written: {file}" in text
    answer = json.loads(file.read_text())
    assert answer["settings"]["options"] == ["none", "int8"]
    assert [row["option"] for row in answer["rows"]] == ["none", "int8"]
    assert answer["verdict"]["sentence"] in text
    assert answer["link"]["mean_bps"] == 1e6


def test_a_checkpoint_and_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_file = pytest.importorskip("safetensors.torch").save_file
    save_file({"w": update((600, 200), 1)}, tmp_path / "new")
    save_file({"w": torch.zeros(600, 200)}, tmp_path / "old")
    words = ["--bandwidth", "1Mbit", "--methods", "auto"]
    assert main(["advise", "--checkpoint", str(tmp_path / "new"), *words]) == 0
    assert "No option stays within an error (NMSE) of 0.001" in capsys.readouterr().out
    assert main(["advise", "--checkpoint", str(tmp_path / "new"), "--base", str(tmp_path / "old"), *words]) == 0
    assert "\nCompress with auto" in capsys.readouterr().out
    assert main(["advise", "--model", "resnet-18", "--sample", "1MB", "--methods", "int8", "--bandwidth", "1Mbit"]) == 0
    text = capsys.readouterr().out
    assert "11.69 million parameters, a synthetic update: sizes and errors are estimates" in text
    assert "of them and scaled" in text


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        ("", ()),
        ("auto", ("auto",)),
        (" auto, int8 ,", ("auto", "int8")),
        ("TopK(0.1, values=Uniform(bits=8)),auto", ("TopK(0.1, values=Uniform(bits=8))", "auto")),
    ],
)
def test_methods_are_parted_by_commas_outside_brackets(given: str, parts: tuple[str, ...]) -> None:
    assert texts(given) == parts


LINK = ["--bandwidth", "20Mbit"]
BAD = [
    ([], "--bandwidth", "--trace"),
    (["--bandwidth", "20"], "'20'", "20Mbit"),
    (["--bandwidth", "0Mbit"], "0.0", "more than 0"),
    ([*LINK, "--trace", "file"], "--trace", "--bandwidth"),
    (["--trace", "nowhere"], "nowhere", "No such file"),
    (["--trace", "file"], "file", "no bandwidth trace"),
    ([*LINK, "--rtt", "50"], "'50'", "50ms"),
    ([*LINK, "--compute", "soon"], "'soon'", "12s"),
    ([*LINK, "--direction", "left"], "'left'", "up, down or both"),
    ([*LINK, "--clients", "0"], "--clients: '0' given", "a whole number from 1"),
    ([*LINK, "--threads", "9999"], "9999", "cores"),
    ([*LINK, "--nmse", "7"], "7", "0 to 1"),
    ([*LINK, "--seed", "-1"], "-1", "seed"),
    ([*LINK, "--sample", "lots"], "'lots'", "64MB"),
    ([*LINK, "--methods", "topkk"], "topkk", "topk"),
    ([*LINK, "--methods", "TopK(2)"], "density", "2"),
    ([*LINK, "--task", "digit"], "'digit'", "digits"),
    ([*LINK, "--task", "digits", "--model", "resnet-18"], "--model", "--task"),
    ([*LINK, "--model", "gpt2"], "'gpt2'", "gpt2-small"),
    ([*LINK, "--checkpoint", "nowhere"], "nowhere", "No such file"),
    ([*LINK, "--checkpoint", "file"], "file", "safetensors"),
    ([*LINK, "--checkpoint", "empty"], "empty", "nothing to send"),
    ([*LINK, "--base", "file"], "--base", "--checkpoint"),
    ([*LINK, "--json", "folder"], "folder", "a file such as"),
    ([*LINK, "--json", "file/x.json"], "file", "cannot be made a folder"),
    ([*LINK, "--method", "auto"], "'--method'", "'--methods'"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "given", "hint"), BAD, ids=[" ".join(words) for words, *_ in BAD])
def test_bad_input_is_one_sentence(
    words: list[str], given: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("file").write_text("not what it should be")
    Path("empty").write_bytes(b"\x02" + bytes(7) + b"{}")
    before = sorted(Path().rglob("*"))
    assert main(["advise", *words]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert given in printed.err
    assert hint in printed.err
    assert sorted(Path().rglob("*")) == before
