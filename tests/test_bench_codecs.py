"""`thinwire bench codecs`: what is measured, that it is measured right, and the files that come of it."""

from __future__ import annotations

import dataclasses
import importlib
import json
import math
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import torch

from thinwire import encode, parse, specs
from thinwire.cli import main
from thinwire.cli.codecs import texts
from thinwire.lab.bench.rates import bound, files, rivals
from thinwire.lab.bench.rates.cases import NAMES, Case, cases
from thinwire.lab.bench.rates.claims import claims
from thinwire.lab.bench.rates.figures import between, envelope, figures
from thinwire.lab.bench.rates.measure import Settings, measure
from thinwire.lab.bench.rates.method import framed, nmse_of
from thinwire.lab.bench.rates.ours import TEXTS, goal, ours
from thinwire.lab.bench.rates.rivals import PAIR_BYTES, TOP_K
from thinwire.lab.bench.rates.sparseloco import THEIRS_BITS, sparseloco
from thinwire.lab.bench.rates.tuning import SLACK, Knob, Sent, tuned
from thinwire.wire import dumps

QUICK = Settings.QUICK | {"updates": ("laplace",), "side": 64, "speed_side": 64}


@pytest.fixture(autouse=True)
def _no_data_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("THINWIRE_DATA", raising=False)


@pytest.fixture(scope="module")
def case() -> Case:
    """A small update of two matrices, one of them ten times the other, rows of different size."""
    noise = torch.randn(96, 128, generator=torch.Generator().manual_seed(0))
    rows = torch.linspace(-3, 1, 96).exp().unsqueeze(1)
    return Case("two", {"large": noise * rows, "small": noise[:32, :64] * 0.1}, {})


# Tuning


@pytest.mark.parametrize("nmse", [0.3, 0.1, 0.01, 1e-4])
@pytest.mark.parametrize("first", [1e-4, 0.3, 50.0])
@pytest.mark.parametrize("power", [0.7, 2.0, 4.0])
def test_a_knob_is_turned_until_the_error_is_just_within(nmse: float, first: float, power: float) -> None:
    trials = []

    def send(at: float) -> Sent:
        trials.append(at)
        return Sent(int(1e6 / at), min(1.0, at**power / 12))

    found = tuned(send, nmse, Knob(first, 1e-9, 1e9))
    assert found is not None
    assert nmse * (1 - SLACK) <= found.sent.nmse <= nmse
    assert len(trials) <= 20


def test_a_knob_that_jumps_is_left_at_the_last_setting_that_meets() -> None:
    found = tuned(lambda at: Sent(1000 - int(at), 0.01 if at < 7.3 else 0.5), 0.1, Knob(1.0, 0.01, 100.0))
    assert found is not None
    assert found.sent.nmse == 0.01
    assert found.knob == pytest.approx(7.3, rel=0.05)


def test_an_error_that_nothing_meets_has_no_point() -> None:
    assert tuned(lambda at: Sent(1, 0.6), 0.3, Knob(1.0, 0.1, 10.0)) is None


# Sizes and errors


@pytest.mark.parametrize("text", [*TEXTS, "ErrorBound(codec=Rdoq(), whole=True)", "TopK(0.1)", "Eden(scale='mse')"])
@pytest.mark.parametrize("nmse", [0.2, 0.02])
def test_points_are_those_of_real_frames(case: Case, text: str, nmse: float) -> None:
    (point,) = ours(text).points(case, [nmse])
    assert point.sent.nmse <= nmse
    if hasattr(what := parse(point.setting), "plan"):
        return
    assert framed(what, case) == point.sent
    frame = dumps({name: encode(what, x) for name, x in case.tensors.items()})
    assert abs(len(frame) - point.sent.bytes) <= 16
    assert point.sent.bytes > 64 + 16


def test_one_step_serves_all_tensors(case: Case) -> None:
    (point,) = ours("Step(symbols=Ans())").points(case, [0.1])
    codec = parse(point.setting)
    assert codec.nmse is None
    alone = [framed(codec, Case("one", {name: x}, {})).nmse for name, x in case.tensors.items()]
    assert alone[0] < point.sent.nmse < alone[1]


@pytest.mark.parametrize(
    ("text", "name"), [("Rdoq()", "step"), ("LowRank()", "nmse"), ("TopK(0.1)", "density"), ("Raw()", "")]
)
def test_the_first_goal_there_is_is_tuned(text: str, name: str) -> None:
    assert goal(parse(text)) == name
    if not name:
        with pytest.raises(ValueError, match="nothing to tune"):
            ours(text)


def test_errors_add_up_over_tensors(case: Case) -> None:
    halved = {name: x / 2 for name, x in case.tensors.items()}
    assert nmse_of(case, halved) == pytest.approx(0.25)
    assert nmse_of(case, case.tensors) == 0


# The bound and the rivals, against the obvious


@pytest.mark.parametrize("zone", [0.5, 0.66])
def test_the_bound_is_the_entropy_of_what_is_counted(case: Case, zone: float) -> None:
    found = bound.order0(zone, case)(0.5)
    bits, error = 0.0, 0.0
    for x in case.tensors.values():
        values = [float(value) for value in x.double().reshape(-1)]
        symbols = [0 if abs(v) / 0.5 < zone else math.copysign(max(1, round(abs(v) / 0.5)), v) for v in values]
        for symbol in set(symbols):
            own = [v for v, s in zip(values, symbols, strict=True) if s == symbol]
            bits -= len(own) * math.log2(len(own) / len(values))
            error += sum((v - sum(own) / len(own)) ** 2 for v in own)
    assert found.bytes == pytest.approx(bits / 8, abs=1)
    assert found.nmse == pytest.approx(error / case.energy, rel=1e-9)


def test_top_k_takes_the_fewest_pairs_that_meet_an_error(case: Case) -> None:
    (point,) = TOP_K.points(case, [0.1])
    count = point.sent.bytes // PAIR_BYTES
    squares = torch.cat([x.reshape(-1) for x in case.tensors.values()]).double().square().sort(descending=True).values
    left = [float(squares[k:].sum() / squares.sum()) for k in (count - 1, count)]
    assert left[1] <= 0.1 < left[0]
    assert point.sent.nmse == pytest.approx(left[1])


@pytest.mark.parametrize("package", rivals.PACKAGES)
def test_installed_rivals_meet_the_error_and_give_back_what_they_took(package: str, case: Case) -> None:
    pytest.importorskip(package)
    found = list(rivals._BY_PACKAGE[package]())
    assert found
    for method in found:
        points = list(method.points(case, [0.1, 0.01]))
        assert [point.sent.nmse <= point.asked for point in points] == [True, True]
        assert 0 < points[0].sent.bytes < points[1].sent.bytes


@pytest.mark.parametrize(
    ("package", "make"), [("pcodec", "pcodec_ints"), ("pcodec", "pcodec_floats"), ("blosc2", "blosc2")]
)
def test_coders_of_integers_are_lossless(package: str, make: str) -> None:
    pytest.importorskip(package)
    coder = getattr(rivals, make)()
    for most in (3, 300, 70_000):
        x = torch.randint(-most, most, (500,), generator=torch.Generator().manual_seed(1)).numpy().astype("int32")
        back = coder.decode(coder.encode(x, 0.5), x.shape)
        assert (back == (x * 0.5 if make == "pcodec_floats" else x)).all()


def test_a_rival_that_is_not_installed_is_left_out_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rivals.importlib.util, "find_spec", lambda name: None)
    assert rivals.missing() == rivals.PACKAGES
    names = {method.name for method in rivals.rivals()}
    assert {"top-k pairs", "eden", "int8 min-max"} <= names
    assert not {name for name in names if name.startswith(("sz3", "pcodec", "blosc2"))}


# Figures


def row(method: str, kind: str, asked: float | None, nmse: float, bits: float) -> dict:
    return {"case": "c", "method": method, "setting": "", "kind": kind, "asked": asked, "nmse": nmse, "bits": bits}


ROWS = [
    row("Rdoq()", "ours", 0.1, 0.1, 0.5),
    row("Rdoq()", "ours", 0.001, 0.001, 2.5),
    row("other", "ours", 0.1, 0.1, 0.4),
    row("pcodec", "rival", 0.1, 0.1, 1.0),
    row("top-k pairs", "rival", 0.1, 0.1, 4.0),
    row("order-0", "bound", 0.1, 0.1, 0.6),
    row("int8", "rival", None, 0.01, 8.0),
    row("planes", "rival", None, 0.0, 20.0),
]


def test_ratios_are_of_our_smallest_and_the_best_rival() -> None:
    found = figures(ROWS, (0.1, 0.5))["c"]
    assert found.keys() == {"0.1", "fixed"}
    at = found["0.1"]
    assert (at["ours"], at["rival"]) == ({"method": "other", "bits": 0.4}, {"method": "pcodec", "bits": 1.0})
    assert [at[key] for key in ("ratio", "order0", "topk")] == pytest.approx([0.4, 1.5, 10])
    assert [at["rdoq"][key] for key in ("bits", "ratio", "order0", "topk")] == pytest.approx([0.5, 0.5, 1.2, 8])
    fixed, planes = found["fixed"]
    assert (fixed["ours_bits"], fixed["times"]) == (pytest.approx(1.45), pytest.approx(8 / 1.45))
    assert planes["times"] is None


def test_our_curve_is_read_between_its_points_and_nowhere_else() -> None:
    curve = envelope(ROWS)
    assert curve == [(0.001, 2.5), (0.1, 0.4)]
    assert between(curve, 0.1) == pytest.approx(0.4)
    assert between(curve, 0.001) == pytest.approx(2.5)
    assert between(curve, 0.0009) is between(curve, 0.11) is None


def test_claims_say_what_held() -> None:
    payload = {"case": "c", "values": "2-bit", "elements": 1 << 20, "bits": 0.151}
    found = {claim["what"]: claim for claim in claims(figures(ROWS, (0.1,)), [payload])}
    assert found["ours / best rival at NMSE 0.1"]["held"]
    assert found["top-k pairs / ours at NMSE 0.1"] | {"held": True} == {
        "what": "top-k pairs / ours at NMSE 0.1", "case": "c", "value": 10.0, "least": 8.0, "most": None, "held": True,
    }  # fmt: skip
    assert not found["SparseLoCo's payload, bits an element"]["held"]


def test_the_payload_of_sparseloco_is_a_third_smaller_than_published() -> None:
    (normal,) = cases(("normal",), 1024, None, 0)
    two_bits, signs = sparseloco(normal)
    assert THEIRS_BITS == 0.21875
    assert two_bits["bits"] <= 0.15
    assert signs["bits"] < two_bits["bits"]


# Results and files


@pytest.fixture(scope="module")
def result() -> dict:
    return measure(Settings(**QUICK))


def test_the_result_is_complete(result: dict) -> None:
    settings = Settings(**QUICK)
    assert result["schema"] == "thinwire.updates/1"
    assert {row["method"] for row in result["rows"]} == {method.name for method in settings.methods}
    assert result["skipped"] == list(rivals.missing())
    for row in result["rows"]:
        assert row["bits"] == 8 * row["bytes"] / 64**2
        assert row["asked"] is None or row["nmse"] <= row["asked"]
    assert [case["name"] for case in result["cases"]] == ["laplace"]
    codecs = {text for text in TEXTS if not text.startswith("ErrorBound")}
    assert {speed["method"] for speed in result["speeds"]} >= codecs | {"Uniform(bits=8)"}
    for speed in result["speeds"]:
        assert speed["encode_copies"] == pytest.approx(speed["encode_s"] / speed["copy_s"])
        assert speed["decode_copies"] > 0
    assert json.loads(json.dumps(result, allow_nan=False))["figures"] == result["figures"]


def test_only_matrices_count(monkeypatch: pytest.MonkeyPatch) -> None:
    recording = importlib.import_module("thinwire.lab.updates.record")
    short = {"mlp-sgd": dataclasses.replace(recording.UPDATES["mlp-sgd"], steps=1, clients=2, rounds=1)}
    monkeypatch.setattr(recording, "UPDATES", short)
    (mlp,) = cases(("mlp-sgd",), 0, None, 0)
    assert mlp.elements == 64 * 1024 + 1024**2 + 10 * 1024
    assert mlp.facts["elements_of_model"] == mlp.elements + 1024 + 1024 + 10
    assert list(specs(mlp.tensors)) == ["0.weight", "2.weight", "4.weight"]


def test_files_are_read_back_and_the_picture_comes_from_them_alone(result: dict, tmp_path: Path) -> None:
    written = files.write(result, tmp_path / "updates.json")
    assert [path.name for path in written] == ["updates.json", "updates-laplace.svg"]
    again = files.write(files.read(written[0]), tmp_path / "again.json")
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in written]
    picture = written[1].read_text()
    assert ElementTree.fromstring(picture).tag.endswith("svg")
    assert not re.search(r"\b(nan|inf|None)\b|var\(", picture)
    assert all(f">{name}" in picture for name in ("Rdoq()", "order-0", "top-k pairs", "eden", "int8 min-max"))


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"schema": "thinwire.updates/1"}', "\udc80"])
def test_what_is_no_result_is_not_shown(content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "x.json"
    file.write_bytes(content.encode(errors="surrogateescape"))
    assert main(["bench", "codecs", "--show", str(file)]) == 2
    assert "x.json is not" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"updates": ("mlp-sdg",)}, r"did you mean mlp-sgd\?"),
        ({"codecs": ("Rdok()",)}, "Rdok"),
        ({"codecs": ("Raw()",)}, "nothing to tune"),
        ({"errors": (1.0,)}, "an error is 1.0"),
        ({"side": 0}, "side is 0"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Settings(**change)


def test_empty_names_are_all_of_them() -> None:
    assert Settings().updates == NAMES
    assert Settings(updates=("synthetic",)).updates == ("laplace", "normal")


# The command


def test_a_quick_run_prints_tables_and_writes_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = ["bench", "codecs", "--quick", "--updates", "normal", "--codecs", "Rdoq(),Step(symbols=Ans())"]
    assert main([*run, "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("[1/1] normal\n")
    assert {path.name for path in tmp_path.iterdir()} == {"updates.json", "updates-normal.svg"}
    said = files.read(tmp_path / "updates.json")
    assert said["settings"]["codecs"] == ["Rdoq()", "Step(symbols=Ans())"]
    bits = said["figures"]["normal"]["0.1"]["ours"]["bits"]
    assert f"{bits:.4f}" in printed
    for words in ("best rival", "SparseLoCo", "in plain copies", "claims held"):
        assert words in printed
    assert all(f"left out: {name}" in printed for name in said["skipped"])
    assert main(["bench", "codecs", "--show", str(tmp_path / "updates.json")]) == 0
    assert "best rival" in capsys.readouterr().out


def test_a_misspelt_codec_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "codecs", "--codecs", "Rdok()", "--out", str(tmp_path / "new")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "Rdok" in said


def test_a_folder_without_any_data_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "codecs", "--data", str(tmp_path), "--out", str(tmp_path / "new")]) == 2
    assert "holds none of FashionMNIST/raw, tinyshakespeare and adult" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_texts_are_cut_at_commas_outside_of_brackets() -> None:
    line = "Rdoq(), Smallest(options=(Step(), LowRank(rank=2))),  stc ,"
    assert list(texts(line)) == ["Rdoq()", "Smallest(options=(Step(), LowRank(rank=2)))", "stc", ""]
    assert list(texts("Rdoq(, stc")) == ["Rdoq(, stc"]


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["bench", "codecs", "--help"])
    printed = capsys.readouterr().out
    for words in ("--updates", "--codecs", "--quick", "thinwire bench codecs --quick", "thinwire[bench]", *NAMES):
        assert words in printed
