"""What is sent and what it costs: samples, shapes, real frames, and verdicts on real updates."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import thinwire as tw
from thinwire.codec import Spec, derive_seed
from thinwire.lab.advise import BadSubject, Settings, Subject, advise
from thinwire.lab.advise.measure import measure, nmse
from thinwire.lab.advise.sample import choose
from thinwire.lab.advise.shapes import MODELS
from thinwire.lab.advise.sources import from_checkpoint, from_model, from_task
from thinwire.lab.advise.synthetic import update
from thinwire.lab.links import Link
from thinwire.lab.traces import Trace
from thinwire.policy import Signals
from thinwire.zoo import compressor

PUBLISHED = {
    "resnet-18": 11_689_512, "resnet-50": 25_557_032, "vit-b-16": 86_567_656, "bert-base": 109_482_240,
    "gpt2-small": 124_439_808, "gpt2-medium": 354_823_168, "gpt2-large": 774_030_080,
}  # fmt: skip
QUICK = Settings(("lossless", "int8", "ErrorBound(nmse=0.1)"))

shapes = st.lists(st.integers(0, 40), max_size=3).map(tuple)
schemas = st.lists(st.builds(Spec, shapes, st.sampled_from([torch.float32, torch.float16, torch.int64])), max_size=12)


@pytest.fixture(scope="module")
def digits() -> Subject:
    return from_task("digits")


def own(tensors: dict[str, torch.Tensor], **facts: bool) -> Subject:
    return Subject("x", "drawn", tensors, dict.fromkeys(tensors, 1.0), **facts)


@pytest.mark.parametrize("name", PUBLISHED)
def test_models_have_as_many_parameters_as_published(name: str) -> None:
    assert set(MODELS) == set(PUBLISHED)
    assert sum(map(math.prod, MODELS[name]().values())) == PUBLISHED[name]


@given(schemas, st.floats(1, 100_000))
def test_weighted_a_sample_is_as_many_elements_of_every_shape_as_the_whole(
    found: list[Spec], most_bytes: float
) -> None:
    named = {str(at): spec for at, spec in enumerate(found)}
    picks = choose(named, most_bytes)
    counted: dict[Spec, float] = {}
    for pick in picks:
        spec = named[pick.name]
        assert pick.weight >= 1
        share = 1 if pick.rows is None else pick.rows / spec.shape[0]
        counted[spec] = counted.get(spec, 0.0) + pick.weight * share * spec.numel
    for spec in set(found):
        assert counted.get(spec, 0.0) == pytest.approx(sum(other.numel for other in found if other == spec))
    assert len({pick.name for pick in picks}) == len(picks)


@given(schemas)
def test_what_fits_is_taken_whole(found: list[Spec]) -> None:
    named = {str(at): spec for at, spec in enumerate(found)}
    picks = choose(named, sum(spec.nbytes for spec in found))
    assert [(pick.name, pick.rows, pick.weight) for pick in picks] == [(name, None, 1.0) for name in named]


def test_a_sample_keeps_to_its_size_and_takes_from_everywhere() -> None:
    for name in ("gpt2-small", "resnet-50"):
        specs = {key: Spec(shape, torch.float32) for key, shape in MODELS[name]().items()}
        picks = choose(specs, 16e6)
        taken = sum(
            (pick.rows or 1) * specs[pick.name].nbytes / (specs[pick.name].shape[0] if pick.rows else 1)
            for pick in picks
        )
        assert 14e6 < taken < 17e6
        assert {specs[pick.name] for pick in picks} == set(specs.values())


@given(shapes, st.integers(0, 2**32 - 1))
def test_synthetic_updates_are_finite_and_the_same_for_the_same_seed(shape: tuple[int, ...], seed: int) -> None:
    x = update(shape, seed)
    assert (x.shape, x.dtype) == (shape, torch.float32)
    assert bool(x.isfinite().all())
    assert torch.equal(x, update(shape, seed))


def test_a_sample_of_a_model_predicts_what_all_of_it_costs() -> None:
    shapes = {f"layer.{at}.weight": (256, 320) for at in range(12)} | {"head": (2000, 256), "norm": (256,)}
    specs = {name: Spec(shape, torch.float32) for name, shape in shapes.items()}
    values = {name: update(shape, derive_seed(0, name)) for name, shape in shapes.items()}
    picks = choose(specs, 2e6)
    parts = {pick.name: values[pick.name][: pick.rows] for pick in picks}
    sample = Subject("x", "", parts, {pick.name: pick.weight for pick in picks})
    assert sample.sampled
    assert sample.sample_bytes < 2.2e6
    assert sample.dense_bytes == pytest.approx(sum(spec.nbytes for spec in specs.values()))
    for option in ("none", "lossless", "int8", "ErrorBound(nmse=0.1)"):
        guess = measure(compressor(option), sample, Signals(), 0)
        truth = measure(compressor(option), own(values), Signals(), 0)
        assert guess.sent_bytes == pytest.approx(truth.sent_bytes, rel=0.05)
        assert guess.nmse == pytest.approx(truth.nmse, rel=0.3)


@pytest.mark.parametrize("option", ["none", "lossless", "int8", "topk", "auto", "dgc"])
def test_bytes_are_those_of_a_real_frame_and_the_error_that_of_what_is_decoded(option: str, digits: Subject) -> None:
    found = measure(compressor(option), digits, Signals(round=100, rounds=100), seed=3)
    message, _, report = compressor(option).compress(digits.tensors, {}, Signals(round=100, rounds=100), 3)
    assert found.sent_bytes == pytest.approx(len(tw.dumps(message)), rel=0.02)
    assert found.nmse == pytest.approx(report.nmse, rel=0.02, abs=1e-12)
    assert 0 < found.encode_s <= found.slow_encode_s
    assert 0 < found.decode_s <= found.slow_decode_s
    assert 1 <= found.timings <= 5
    assert found.cores > 0


def test_the_subject_is_not_changed() -> None:
    tensors = {"w": torch.linspace(-1, 1, 4000).view(40, 100), "n": torch.arange(3)}
    before = {name: x.clone() for name, x in tensors.items()}
    advise(own(tensors), Link(1e6), Settings(("auto", "topk")))
    assert all(torch.equal(x, before[name]) for name, x in tensors.items())


def test_the_error_counts_each_tensor_as_often_as_it_stands_for() -> None:
    tensors = {"a": torch.ones(4), "b": torch.ones(4)}
    subject = Subject("x", "", tensors, {"a": 3.0, "b": 1.0})
    assert nmse(subject, {"a": torch.zeros(4), "b": torch.ones(4)}) == pytest.approx(0.75)


def test_a_fast_link_is_not_to_be_compressed_and_a_slow_one_is(digits: Subject) -> None:
    fast = advise(digits, Link(100e9), QUICK)["verdict"]
    assert (fast["action"], fast["option"]) == ("do not compress", "")
    slow = advise(digits, Link(1e6), QUICK)["verdict"]
    assert (slow["action"], slow["option"]) == ("compress", "ErrorBound(nmse=0.1)")


def test_the_measured_break_even_bandwidth_parts_what_pays_from_what_does_not(digits: Subject) -> None:
    answer = advise(digits, Link(1e6), Settings(("int8",), compute_s=0.0))
    row = answer["rows"][1]
    dense_bits, limit_bps = 8 * answer["rows"][0]["sent_bytes"], row["break_even_bps"]
    assert limit_bps == pytest.approx((1 - 1 / row["ratio"]) * dense_bits / row["codec_s"], rel=1e-6)
    coded_s = row["codec_s"] + 8 * row["sent_bytes"] / limit_bps
    assert coded_s == pytest.approx(dense_bits / limit_bps, rel=1e-6)


def test_an_answer_is_json_and_the_baseline_is_first(digits: Subject) -> None:
    answer = advise(digits, Link(20e6, 0.05), Settings(("int8", "none"), direction="both", clients=3, compute_s=2.0))
    assert json.loads(json.dumps(answer, allow_nan=False))["schema"] == "thinwire.advise/1"
    dense, coded = answer["rows"]
    assert (dense["option"], dense["encode_s"], dense["ratio"], dense["speed_up"]) == ("none", 0, 1, 1)
    assert [leg["direction"] for leg in coded["legs"]] == ["down", "up"]
    assert [leg["receivers"] for leg in coded["legs"]] == [1, 3]
    assert dense["sent_bytes"] == pytest.approx(2 * 340_008, rel=0.001)
    assert dense["round_s"] == pytest.approx(2.0 + 0.05 + 8 * dense["sent_bytes"] / 20e6, rel=1e-6)
    assert answer["link"]["floor_s"] == pytest.approx(2.05)


def test_a_trace_gives_a_mean_and_a_percentile_above_it(digits: Subject) -> None:
    trace = Trace(torch.arange(21).double().numpy(), torch.tensor([1e5, 4e6] * 10).double().numpy())
    rows = advise(digits, Link(trace), QUICK)["rows"]
    assert all(row["round_p95_s"] > row["round_s"] for row in rows)
    assert rows[0]["round_s"] > rows[-1]["round_s"]


def test_a_budget_in_bytes_is_one_for_all_that_a_sample_stands_for() -> None:
    values = {f"{at}": update((100, 120), at) for at in range(6)}
    sample = Subject("x", "", {"0": values["0"], "3": values["3"]}, {"0": 3.0, "3": 3.0})
    for option in ("ByteBudget(total_bytes=6000, codec=Step())", "ByteBudget(ratio=48, codec=Step())"):
        rows = [advise(subject, Link(1e6), Settings((option,)))["rows"][1] for subject in (own(values), sample)]
        assert rows[0]["sent_bytes"] <= 6000
        assert rows[1]["sent_bytes"] == pytest.approx(rows[0]["sent_bytes"], rel=0.05)


def test_what_cannot_be_encoded_is_left_out_with_its_reason() -> None:
    tensors = {"w": torch.full((40, 50), math.nan)}
    answer = advise(own(tensors), Link(1e6), Settings(("lossless", "int8")))
    assert [row["option"] for row in answer["rows"]] == ["none", "lossless"]
    assert "NaN" in answer["skipped"]["int8"]
    assert answer["rows"][1]["nmse"] == 0


def test_what_may_lose_nothing_is_advised_lossless_and_nothing_else(tmp_path: Path) -> None:
    """Float8 and integers keep every bit: whatever is asked for, no lossy codec is given the credit."""
    g = torch.Generator().manual_seed(0)
    narrow = torch.randn(300, 40, generator=g).to(torch.float8_e4m3fn)
    subject = from_checkpoint(save(tmp_path / "x", {"w": narrow, "n": torch.arange(9)}), None, 1e9)
    assert subject.about.endswith("; 100% of the bytes (F8_E4M3, I64) keep every bit")
    for asked in ((), ("TopK(0.01)", "int8")):
        answer = advise(subject, Link(1e6), Settings(asked))
        assert [row["option"] for row in answer["rows"]] == ["none", "lossless"]
        assert answer["verdict"]["option"] == "lossless"
        assert set(asked) <= set(answer["skipped"])
    floats = from_checkpoint(save(tmp_path / "x", {"w": narrow, "f": narrow.float()}), None, 1e9)
    assert floats.about.endswith("; 20% of the bytes (F8_E4M3) keep every bit")
    assert "int8" in [row["option"] for row in advise(floats, Link(1e6), Settings(("int8",)))["rows"]]


@pytest.mark.parametrize("tensors", [{}, {"x": torch.zeros(0, 4)}, {"x": torch.zeros(0), "y": torch.zeros(3, 0)}])
def test_where_there_is_nothing_to_send_there_is_nothing_to_advise(
    tensors: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    with pytest.raises(BadSubject, match="holds no elements"):
        from_checkpoint(save(tmp_path / "x", tensors), None, 1e9)
    with pytest.raises(BadSubject, match="holds no elements"):
        own(tensors)


def test_what_no_frame_carries_is_said() -> None:
    with pytest.raises(BadSubject, match=r"cannot be sent: .*1000000 bytes"):
        advise(own({"n" * 1_000_000: torch.zeros(3)}), Link(1e6), Settings())


def test_a_model_that_is_sent_whole_bears_less_error() -> None:
    tensors = {"w": update((64, 64), 0)}
    lossy = Settings(("ErrorBound(nmse=0.1)",))
    assert advise(own(tensors), Link(1e4), lossy)["verdict"]["action"] == "compress"
    assert advise(own(tensors, whole=True), Link(1e4), lossy)["verdict"]["action"] == "do not compress"


def test_one_round_of_a_task_is_the_same_for_the_same_seed(digits: Subject) -> None:
    again = from_task("digits")
    assert all(torch.equal(x, again.tensors[name]) for name, x in digits.tensors.items())
    assert any(bool(x.any()) for x in digits.tensors.values())
    assert 0 < (digits.compute_s or 0) < 30


def save(file: Path, tensors: dict[str, torch.Tensor]) -> Path:
    pytest.importorskip("safetensors.torch").save_file(tensors, file)
    return file


def test_a_checkpoint_is_read_whole_as_a_difference_and_as_a_sample(tmp_path: Path) -> None:
    new = {"a": update((900, 40), 1), "b": torch.arange(5), "c": update((8,), 2).bfloat16()}
    old = {name: torch.zeros_like(x) if name != "b" else x + 1 for name, x in new.items()}
    files = save(tmp_path / "new", new), save(tmp_path / "old", old)
    plain = from_checkpoint(files[0], None, 1e9)
    assert plain.whole
    assert all(torch.equal(plain.tensors[name], x) for name, x in new.items())
    change = from_checkpoint(*files, 1e9)
    assert not change.whole
    assert torch.equal(change.tensors["a"], new["a"])
    assert torch.equal(change.tensors["b"], torch.full((5,), -1))
    part = from_checkpoint(files[0], None, 10_000)
    assert part.sampled
    assert torch.equal(part.tensors["a"], new["a"][: len(part.tensors["a"])])
    assert part.dense_bytes == pytest.approx(sum(x.nbytes for x in new.values()))


def test_checkpoints_that_do_not_match_or_are_none_are_refused(tmp_path: Path) -> None:
    new = save(tmp_path / "new", {"a": torch.zeros(3, 4)})
    with pytest.raises(BadSubject, match=r"'a' is \(3, 4\) float32 in .*new and missing in .*old"):
        from_checkpoint(new, save(tmp_path / "old", {"b": torch.zeros(3, 4)}), 1e9)
    (tmp_path / "text").write_text("no checkpoint at all")
    for name in ("text", "nowhere"):
        with pytest.raises(ValueError, match=f"{name}.*expected a safetensors file"):
            from_checkpoint(tmp_path / name, None, 1e9)
    with pytest.raises(BadSubject, match="gpt2-small"):
        from_model("gpt2-smal", 1e6)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"direction": "sideways"}, "sideways"), ({"clients": 0}, "clients is 0"), ({"threads": 0}, "threads 0"),
        ({"threads": 9999}, "9999"),
        ({"most_nmse": 2.0}, "2.0"), ({"seed": -1}, "-1"), ({"options": ("TopK(0)",)}, "density"),
        ({"options": ("int9",)}, "int9"),
    ],
)  # fmt: skip
def test_impossible_settings_are_refused(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Settings(**wrong)
