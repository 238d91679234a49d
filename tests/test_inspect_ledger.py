"""Ledgers as `inspect` shows them: sums, filters, what went dense and why, and files that are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from thinwire.cli import main

Json = dict[str, Any]


def line(round_: int, node: int, way: str, kind: str, payload: int, dense: int = 4000, **more: Any) -> Json:
    """Return a transfer with the fields that every ledger has, and others."""
    old = {"nmse": None, "encode_s": 0.01, "decode_s": 0.0, "tensors": {}, "reason": ""}
    return {"round": round_, "node_id": node, "direction": way, "kind": kind, "payload_bytes": payload,
            "dense_bytes": dense} | old | more  # fmt: skip


def ledger(folder: Path, lines: list[Json]) -> str:
    file = folder / "ledger.json"
    file.write_text(json.dumps({"schema": "thinwire.ledger/1", "transfers": lines}))
    return str(file)


RUN = [
    line(1, 7, "down", "whole", 4000, message="train", codecs={"w": "Planes()"}),
    line(1, 8, "down", "dense", 4000, message="train"),
    line(1, 7, "up", "update", 100, nmse=0.2, message="train", codecs={"w": "Step(step=0.25)", "b": "Raw()"}),
    line(1, 8, "up", "refused", 0, reason="the checksum\x1b[2J does not match", message="train"),
    line(2, 7, "down", "delta", 200, nmse=0.1, message="train", codecs={"w": "Step(step=0.5)"}, not_compressed=50),
    line(2, 7, "up", "update", 100, nmse=0.1, message="train", codecs={"w": "Step(step=0.25)", "b": "Raw()"}),
    line(2, 7, "down", "held", 40, message="evaluate"),
]


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["inspect", *words]) == 0
    return capsys.readouterr().out


def row(text: str, *begin: str) -> list[str]:
    return next(cells for each in text.splitlines() if (cells := each.split())[: len(begin)] == list(begin))


def test_a_ledger_is_summed_by_round_direction_and_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, ledger(tmp_path, RUN))
    assert "7 transfers, 2 rounds, 2 nodes" in text
    assert row(text, "1", "down", "train")[3:] == ["2", "8,000", "8,000", "1.0x", "-", "1", "-", "4,000"]
    assert row(text, "1", "up", "train")[3:] == ["2", "100", "4,000", "40.0x", "0.2", "-", "1", "-"]
    assert row(text, "2", "down", "train")[3:] == ["1", "200", "4,000", "20.0x", "0.1", "-", "-", "50"]
    assert row(text, "2", "down", "evaluate")[3:] == ["1", "40", "4,000", "100.0x", "-", "-", "-", "-"]
    assert row(text, "down", "8,240")[1:] == ["8,240", "bytes", "of", "16,000", "dense,", "1.9x,", "NMSE", "0.1"]
    assert row(text, "up", "200")[1:] == ["200", "bytes", "of", "8,000", "dense,", "40.0x,", "NMSE", "0.15"]
    assert row(text, "both")[1:5] == ["8,440", "bytes", "of", "24,000"]
    assert "not compressed: 1 transfer with 1 node: 8" in text
    assert "as they were: 50 bytes" in text
    assert "refused: round 1, node 8, up train: the checksum\\x1b[2J does not match" in text
    assert "\x1b" not in text
    assert "up w: Step(step=0.25) x2" in text
    assert "down w: Planes(); Step(step=0.5)" in text
    assert "warning" not in text
    assert max(map(len, text.splitlines())) <= 120


def test_rounds_and_nodes_are_picked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = ledger(tmp_path, RUN)
    second = shown(capsys, file, "--round", "2")
    assert "3 transfers, 1 round, 1 node" in second
    assert "refused:" not in second
    other = shown(capsys, file, "--node", "8")
    assert "2 transfers, 1 round, 1 node" in other
    assert "warning: nothing was compressed" in other
    both = shown(capsys, file, "--round", "1", "--node", "7")
    assert "2 transfers" in both
    assert "codecs:" in both


def test_older_ledgers_say_less_and_are_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    least = [{key: value for key, value in item.items() if key in ("round", "node_id", "direction", "kind",
              "payload_bytes", "dense_bytes")} for item in RUN]  # fmt: skip
    text = shown(capsys, ledger(tmp_path, least))
    assert row(text, "1", "up", "-")[3:] == ["2", "100", "4,000", "40.0x", "-", "-", "1", "-"]
    assert "no reason was noted" in text
    assert "codecs" not in text
    assert "nothing was sent" in shown(capsys, ledger(tmp_path, []))


def test_what_the_engine_writes_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("flwr")
    from thinwire.flower.ledger import Transfer, write_ledger

    made = [
        Transfer(1, 2**63 + 5, "down", "delta", 10, 400, 0.125, tensors={"w": 4}),
        Transfer(1, 3, "up", "dense", 9, 9),
    ]
    write_ledger(made, tmp_path / "ledger.json")
    text = shown(capsys, str(tmp_path / "ledger.json"), "--node", str(2**63 + 5))
    assert row(text, "1", "down")[3:8] == ["1", "10", "400", "40.0x", "0.12"]


GOOD = RUN[2]
BAD: list[tuple[str, str]] = [
    ("{", "not valid JSON"),
    ("[" * 100_000, "not valid JSON"),
    ("[]", "schema is 'None'"),
    ('{"schema": "thinwire.run/1"}', "schema is 'thinwire.run/1'"),
    ('{"schema": "thinwire.ledger/1"}', "'transfers'"),
    ('{"schema": "thinwire.ledger/1", "transfers": [3]}', "'transfers'"),
    *(
        (json.dumps({"schema": "thinwire.ledger/1", "transfers": [GOOD, GOOD | {key: value}]}), f"transfers[1].{key}")
        for key, value in (
            ("round", -1), ("round", "x"), ("round", True), ("round", 2**70), ("node_id", 1.5), ("direction", "left"),
            ("kind", 3), ("payload_bytes", None), ("dense_bytes", -4), ("nmse", "x"), ("reason", 5), ("codecs", []),
            ("codecs", {"w": 3}), ("tensors", {"w": "x"}), ("not_compressed", -1), ("message", {}),
        )
    ),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said"), BAD)
def test_what_is_no_ledger_is_one_sentence(
    text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "odd.json").write_text(text)
    assert main(["inspect", str(tmp_path / "odd.json")]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert said in printed.err
    assert len(printed.err) < 400


def test_options_that_do_not_fit_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = ledger(tmp_path, RUN)
    (tmp_path / "frame").write_bytes(b"TWIR" + bytes(60))
    for words, said in (
        ([file, "--schema", file], "leave out --schema"),
        ([file, "--round", "9"], "nothing of round 9: it has rounds 1 to 2"),
        ([file, "--round", "2", "--node", "8"], "nothing of round 2 and node 8"),
        ([str(tmp_path / "frame"), "--round", "1"], "no ledger"),
    ):
        assert main(["inspect", *words]) == 2
        assert said in capsys.readouterr().err
