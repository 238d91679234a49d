"""The trainer: resumed runs are the runs that never stopped, sums are those of one process, every row counts once."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from trainer_cases import CPU, QUICK, Stopped, replica, run, two_workers

from thinwire.lab.diverged import Diverged
from thinwire.lab.training import states
from thinwire.lab.training.board import Drawn
from thinwire.lab.training.checkpoint import Writer, newest
from thinwire.lab.training.config import TrainConfig, differences
from thinwire.lab.training.data import Batches
from thinwire.lab.training.evaluate import average_buffers, evaluate
from thinwire.lab.training.frames import load, save
from thinwire.lab.training.local import prepare
from thinwire.lab.training.position import Position
from thinwire.lab.training.prepared import read
from thinwire.lab.training.records import Records
from thinwire.lab.training.schedule import SCHEDULES, share

pytest.importorskip("sklearn")
CASES: list[dict[str, Any]] = [
    {"compressor": "hggtopk", "density": 0.05, "use_pipeline": True},
    {"compressor": "powersgd"},
    {"compressor": "dgc", "density": 0.05, "model": "small-resnet", "clip_norm": 1.0},
    {"compressor": "none"},
    {"compressor": "torch-fp16"},
]
NAMES = [case["compressor"] for case in CASES]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("two") / "workers"
    two_workers(folder, CASES)
    return folder


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[None]:
    """One rank, in this process; the global generator is put back."""
    before = torch.get_rng_state()
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    dist.destroy_process_group()
    torch.set_rng_state(before)


@pytest.mark.parametrize("number", range(len(CASES)), ids=NAMES)
def test_a_run_that_goes_on_is_the_run_that_never_stopped(out: Path, number: int) -> None:
    for rank in range(2):
        whole, again = (load(out / f"{number}-{which}" / f"end-{rank}.twf") for which in ("whole", "again"))
        assert whole.keys() == again.keys()
        assert [name for name in whole if not torch.equal(whole[name], again[name])] == []


@pytest.mark.parametrize("number", range(len(CASES)), ids=NAMES)
def test_replicas_are_bit_identical(out: Path, number: int) -> None:
    first, second = (load(out / f"{number}-whole" / f"end-{rank}.twf") for rank in range(2))
    shared = [name for name in first if name.startswith(("model/", "optimizer/"))]
    assert shared
    assert all(torch.equal(first[name], second[name]) for name in shared)


def test_what_compression_keeps_is_in_the_checkpoint(out: Path) -> None:
    for number, key in ((0, "averaging/residual/"), (1, "averaging/history/"), (2, "averaging/velocity/")):
        saved = newest(out / f"{number}-again")
        assert saved is not None
        assert saved.position == Position(12, 2, 0)
        ranks = [saved.of_rank(rank) for rank in range(2)]
        kept = [name for name in ranks[0] if name.startswith(key)]
        assert kept
        if key != "averaging/history/":
            assert not all(torch.equal(ranks[0][name], ranks[1][name]) for name in kept)


def test_bytes_are_recorded_step_by_step(out: Path) -> None:
    records = [json.loads((out / f"{number}-whole" / "records.json").read_text()) for number in range(len(CASES))]
    hgg, power, _, dense, fp16 = (record["steps"] for record in records)
    # Two workers send each half of what a ring all-reduce of 4 bytes a parameter is, twice.
    parameters = sum(x.numel() for x in trainer_model().parameters())
    assert dense["sent_bytes"] == dense["dense_bytes"] == [2 * 4 * parameters] * 12
    assert fp16["sent_bytes"] == [4 * parameters] * 12
    for record in (hgg, power):
        assert all(
            0 < sent < dense / 3 for sent, dense in zip(record["sent_bytes"], record["dense_bytes"], strict=True)
        )
    assert all(len(column) == 12 for column in hgg.values())
    assert all(value >= 0 for name, column in hgg.items() if name.endswith("_s") for value in column)
    assert [row["step"] for row in records[0]["epochs"]] == [6, 12]


def trainer_model() -> nn.Module:
    from thinwire.lab.models.catalogue import find

    return find("small-cnn").build(10, channels=1)


def test_two_workers_train_as_one_with_the_larger_batch(out: Path, alone: None, tmp_path: Path) -> None:
    one = replica(TrainConfig(**QUICK | {"batch_size": 16}, compressor="none"))
    run(one, tmp_path / "run")
    two = load(out / "3-whole" / "end-0.twf")
    for name, x in one.model.state_dict().items():
        torch.testing.assert_close(two[f"model/{name}"], x, rtol=1e-3, atol=1e-5)


def test_another_number_of_workers_goes_on(out: Path, alone: None, tmp_path: Path) -> None:
    """One worker takes the mean of what the two had left: (r0 + r1) * 1/2."""
    config = TrainConfig(**QUICK, **CASES[0], workers=1)
    states_of = [newest(out / "0-again").of_rank(rank) for rank in range(2)]  # type: ignore[union-attr]
    one = replica(config, out / "0-again")
    kept = one.averaging.state_dicts()[0]
    for name in (name for name in kept if name.startswith("residual/")):
        parts = [state.get(f"averaging/{name}", torch.zeros(())) for state in states_of]
        torch.testing.assert_close(kept[name], (parts[0] + parts[1]) / 2)
    assert one.position == Position(12, 2, 0)
    assert one.steps == 12


def test_momentum_correction_of_everything_is_momentum(alone: None, tmp_path: Path) -> None:
    """Where all is sent, weight decay, momentum and learning rate come to what SGD does."""
    text = "Compressor(Fixed(TopK(1.0)), MomentumCorrection(0.9, masking=False))"
    ends = []
    for compressor in (text, "none"):
        made = replica(TrainConfig(**QUICK | {"epochs": 1}, compressor=compressor, weight_decay=0.05, workers=1))
        run(made, tmp_path / str(len(ends)))
        ends.append(made.model.state_dict())
    for name, x in ends[0].items():
        torch.testing.assert_close(x, ends[1][name], rtol=1e-3, atol=1e-6)


def test_a_workers_gradient_is_clipped_and_then_decayed() -> None:
    small, large = nn.Parameter(torch.full((4,), 3.0)), nn.Parameter(torch.full((2, 2), 5.0))
    prepare([small, large], clip_norm=1.0, weight_decay=0.1)
    (small.sum() * 0.25 + large.sum() * 100).backward()
    torch.testing.assert_close(small.grad, torch.full((4,), 0.25 + 0.3))
    torch.testing.assert_close(large.grad, torch.full((2, 2), 0.5 + 0.5))


@pytest.mark.parametrize("gradient", [0.0, math.nan, math.inf])
def test_degenerate_gradients_are_not_made_up(gradient: float) -> None:
    parameter = nn.Parameter(torch.ones(3))
    prepare([parameter], clip_norm=1.0, weight_decay=0.0)
    (parameter * torch.full((3,), gradient)).sum().backward()
    assert parameter.grad is not None
    assert bool((parameter.grad == 0).all()) if gradient == 0 else not bool(parameter.grad.isfinite().any())


def test_evaluation_counts_every_row_once(alone: None) -> None:
    dataset, model = read(TrainConfig()), trainer_model().eval()
    metric, loss = evaluate(model, dataset, CPU, [0], 1)
    images, labels = dataset.test.take(torch.arange(len(dataset.test)))
    with torch.inference_mode():
        logits = model(images)
    assert metric == (logits.argmax(1) == labels).sum().item() / len(labels)
    assert loss == pytest.approx(nn.functional.cross_entropy(logits, labels).item(), rel=1e-5)


def test_evaluation_of_two_workers_is_that_of_one(out: Path, alone: None) -> None:
    rows = json.loads((out / "3-whole" / "records.json").read_text())["epochs"]
    model = trainer_model()
    ended = load(out / "3-whole" / "end-0.twf")
    model.load_state_dict({name.removeprefix("model/"): x for name, x in ended.items() if name.startswith("model/")})
    metric, loss = evaluate(model, read(TrainConfig(limit_rows=QUICK["limit_rows"])), CPU, [0], 1)
    assert rows[-1]["accuracy"] == metric
    assert rows[-1]["loss"] == pytest.approx(loss, rel=1e-6)


def test_text_is_judged_by_its_perplexity(alone: None, tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("the cat sat on the mat. " * 60)
    settings: dict[str, Any] = {"model": "small-gpt", "dataset": str(words), "context": 16, "batch_size": 4}
    made = replica(TrainConfig(**settings, epochs=1, steps=3, workers=1, compressor="hggtopk"))
    run(made, tmp_path / "run")
    row = made.records.epochs[-1]
    assert row["perplexity"] == pytest.approx(math.exp(row["loss"]))
    assert made.position == Position(3, 0, 12)


def test_a_loss_that_is_no_number_ends_the_run(alone: None, tmp_path: Path) -> None:
    made = replica(TrainConfig(**QUICK | {"lr": 1e12, "warmup": 0}, compressor="none", workers=1))
    with pytest.raises(Diverged, match=r"loss of worker 0 is (nan|inf) at step \d+, learning rate"):
        run(made, tmp_path / "run")


def test_buffers_are_averaged(alone: None) -> None:
    norm = nn.BatchNorm1d(3)
    norm(torch.arange(6.0).view(2, 3))
    before = norm.running_mean.clone()
    average_buffers(norm)
    assert torch.equal(norm.running_mean, before)
    assert norm.num_batches_tracked == 1


@given(st.sampled_from(SCHEDULES), st.integers(1, 200), st.integers(0, 50))
def test_schedules_rise_once_and_never_again(schedule: str, steps: int, warmup: int) -> None:
    values = [share(schedule, step, steps, warmup) for step in range(steps)]
    assert all(0 <= value <= 1 for value in values)
    rising, falling = values[:warmup], values[warmup:]
    assert rising == sorted(rising)
    assert falling == sorted(falling, reverse=True)
    assert not falling or falling[0] == 1


def test_the_step_schedule_drops_twice() -> None:
    values = [round(share("step", step, 8, 0), 9) for step in range(8)]
    assert values == [1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01]


@given(st.integers(1, 5), st.integers(1, 5), st.integers(20, 60), st.integers(1, 30))
def test_no_row_comes_twice_whatever_the_number_of_workers(first: int, second: int, rows: int, switch: int) -> None:
    """Workers change in the middle: steps end where the epoch does, and rows of an epoch are used at most once."""
    batch, epochs, at, seen = 2, 2, Position(), set[tuple[int, int]]()
    for workers, until in ((first, switch), (second, 10**9)):
        step_rows, epoch_steps = batch * workers, rows // (batch * workers)
        at = at.settled(step_rows, epoch_steps)
        last = at.all_steps(step_rows, epoch_steps, epochs, None)
        while at.step < min(last, until):
            done = at.begun(step_rows)
            taken = {(at.epoch, row) for row in range(done * step_rows, (done + 1) * step_rows)}
            assert not taken & seen
            seen |= taken
            at = at.after_step(step_rows, epoch_steps)
    assert at.epoch == epochs
    assert all(row < rows for _, row in seen)


def test_frames_keep_every_bit(tmp_path: Path) -> None:
    tensors = {
        "nan": torch.tensor([math.nan, -0.0, math.inf, 1e-45]),
        "half": torch.randn(3, 5, dtype=torch.bfloat16, generator=torch.Generator().manual_seed(1)).T,
        "bytes": torch.get_rng_state(),
        "yes": torch.tensor(True),
        "step": torch.tensor(7, dtype=torch.int64),
        "empty": torch.empty(0, 3),
        "double": torch.tensor(0.1, dtype=torch.float64),
    }
    save(tensors, tmp_path / "x.twf")
    read_back = load(tmp_path / "x.twf")
    assert read_back.keys() == tensors.keys()
    for name, x in tensors.items():
        assert (read_back[name].dtype, read_back[name].shape) == (x.dtype, x.shape)
        assert torch.equal(
            read_back[name].contiguous().view(-1).view(torch.uint8) if x.ndim else read_back[name],
            x.contiguous().view(-1).view(torch.uint8) if x.ndim else x,
        )


def test_a_checkpoint_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    writer = Writer(tmp_path, 0, 1, lambda: None)
    writer.write(Position(3), {"model": "m"}, {}, {"w": torch.ones(2)}, {0: {"r": torch.zeros(1)}})

    def killed() -> None:
        raise Stopped

    with pytest.raises(Stopped):
        Writer(tmp_path, 0, 1, killed).write(Position(6), {}, {}, {}, {0: {}})
    saved = newest(tmp_path)
    assert saved is not None
    assert (saved.position.step, saved.config) == (3, {"model": "m"})
    writer.write(Position(9), {}, {}, {"w": torch.ones(2)}, {0: {}})
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000009"]


def test_damaged_checkpoints_are_named(tmp_path: Path) -> None:
    Writer(tmp_path, 0, 1, lambda: None).write(Position(3), {}, {}, {"w": torch.ones(200)}, {0: {}})
    saved = newest(tmp_path)
    assert saved is not None
    saved.check()
    model = saved.folder / "model.twf"
    data = bytearray(model.read_bytes())
    data[-20] ^= 1
    model.write_bytes(data)
    with pytest.raises(ValueError, match=r"model\.twf is damaged"):
        saved.check()
    (saved.folder / "run.json").write_text('{"schema": "other"}')
    with pytest.raises(ValueError, match=r"run\.json is no checkpoint"):
        newest(tmp_path)


def test_optimizer_states_come_back() -> None:
    layer = nn.Linear(3, 2)
    for name in (torch.optim.SGD, torch.optim.AdamW):
        settings = {"lr": 0.1, **({"momentum": 0.9} if name is torch.optim.SGD else {})}
        first, second = (name(layer.parameters(), **settings) for _ in range(2))
        layer(torch.ones(1, 3)).sum().backward()
        first.step()
        states.into_optimizer(states.of_optimizer(first), second)
        a, b = states.of_optimizer(first), states.of_optimizer(second)
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a)


def test_what_may_change_when_a_run_goes_on() -> None:
    base = TrainConfig()
    assert differences(base.described(), TrainConfig(workers=3, simulate=True).described()) == []
    assert differences(base.described(), TrainConfig(lr=0.7).described()) == ["lr 0.05 then, 0.7 now"]
    longer = {"epochs": 9, "steps": 5}
    constant = replace(base, schedule="constant")
    assert differences(constant.described(), replace(constant, **longer).described()) == []
    for schedule in ("cosine", "step"):
        laid_out = replace(base, schedule=schedule)
        for name, value in longer.items():
            odd = differences(laid_out.described(), replace(laid_out, **{name: value}).described())
            assert odd[0].startswith(f"{name} ")
            assert f"its {schedule} learning rate" in odd[1]


def test_tensorboard_gets_every_number_once() -> None:
    points: list[tuple[str, float, int]] = []

    class Writer:
        def add_scalar(self, tag: str, value: float, step: int) -> None:
            points.append((tag, value, step))

    records = Records()
    draw = Drawn(Writer(), records)
    records.steps["loss"] += [2.0, 1.0]
    records.epochs.append({"epoch": 1, "step": 2, "accuracy": 0.5, "loss": None})
    draw(records)
    draw(records)
    assert points == [("step/loss", 2.0, 1), ("step/loss", 1.0, 2), ("epoch/accuracy", 0.5, 2)]


def test_batches_of_the_order_are_those_of_the_position() -> None:
    rows = read(TrainConfig(**QUICK)).train
    batches = Batches(rows, 8).shard(1, 2)
    at = Position(0, 0, 16)
    assert torch.equal(batches.at(0, at.begun(16))[1], batches.at(0, 1)[1])
