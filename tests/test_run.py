"""A run is a real Flower run: its JSON holds what the grid counted, in one schema, the same for the same config."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import nn

from thinwire.cli.federate import _warn
from thinwire.flower import LocalGrid
from thinwire.lab import run as run_module
from thinwire.lab.config import STOCK, RunConfig
from thinwire.lab.environment import PACKAGE, commit
from thinwire.lab.federation import proximal
from thinwire.lab.run import prepare, run
from thinwire.lab.strategies import NAMES, strategy

TINY = {"clients": 3, "rounds": 2, "local_epochs": 1, "batch_size": 64}
WAYS = ("up", "down")
NUMBER, TEXT, NULL = (int, float), (str,), (type(None),)

ROUND = {
    "round": (int,), "metric": NUMBER, "loss": (*NUMBER, *NULL),
    "up_bytes": (int,), "down_bytes": (int,), "up_payload_bytes": (int,), "down_payload_bytes": (int,),
    "up_nmse": (*NUMBER, *NULL), "down_nmse": (*NUMBER, *NULL),
    "encode_s": NUMBER, "decode_s": NUMBER, "train_s": NUMBER, "round_s": NUMBER, "replies": (int,), "failures": (int,),
}  # fmt: skip
SCHEMA = {
    "schema": TEXT, "name": TEXT, "slug": TEXT, "group": TEXT, "source": TEXT,
    "config": {
        "task": TEXT, "clients": (int,), "partition": TEXT, "strategy": TEXT, "rounds": (int,), "local_epochs": (int,),
        "batch_size": (int,), "optimizer": TEXT, "fraction_train": NUMBER, "seed": (int,),
        "uplink": TEXT, "downlink": TEXT,
    },
    "metric": {"name": TEXT, "higher_is_better": (bool,)},
    "environment": {
        "python": TEXT, "torch": TEXT, "flwr": TEXT, "thinwire": TEXT, "machine": TEXT, "commit": TEXT,
    },
    "model": {"parameters": (int,), "dense_bytes": (int,), "tensors": (dict,)},
    "rounds": (list,),
    "totals": {
        "up_bytes": (int,), "down_bytes": (int,), "total_bytes": (int,), "up_payload_bytes": (int,),
        "down_payload_bytes": (int,), "encode_s": NUMBER, "decode_s": NUMBER, "wall_s": NUMBER,
    },
    "final": {"metric": NUMBER, "loss": (*NUMBER, *NULL)},
}  # fmt: skip


def tiny(**changes: Any) -> RunConfig:
    return RunConfig(**{**TINY, **changes})


@pytest.fixture(scope="module")
def plain() -> dict[str, Any]:
    return run(tiny(), group="uncompressed")


@pytest.fixture(scope="module")
def grids() -> list[LocalGrid]:
    return []


@pytest.fixture(scope="module")
def compressed(grids: list[LocalGrid]) -> dict[str, Any]:
    original = run_module.run_local

    def keep(*args: Any, **kwargs: Any) -> LocalGrid:
        grids.append(original(*args, **kwargs))
        return grids[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "run_local", keep)
        return run(tiny(uplink="TopK(0.1)", downlink="Uniform(bits=8)"), group="own", name="own texts")


def check(value: Any, expected: Any, path: str) -> None:
    if isinstance(expected, dict):
        assert list(value) == list(expected), path
        for key in expected:
            check(value[key], expected[key], f"{path}.{key}")
    else:
        assert type(value) in expected, f"{path} is {value!r}"


@pytest.mark.parametrize("name", ["plain", "compressed"])
def test_the_json_is_of_the_schema(name: str, request: pytest.FixtureRequest) -> None:
    result = request.getfixturevalue(name)
    check(result, SCHEMA, "run")
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert result["schema"] == "thinwire.run/1"
    assert result["slug"] == f"{result['group']}-seed0"
    assert [row["round"] for row in result["rounds"]] == [0, 1, 2]
    for row in result["rounds"]:
        check(row, ROUND, "round")
    for tensor in result["model"]["tensors"].values():
        check(tensor, {"shape": (list,), "up_bytes": (int,), "down_bytes": (int,)}, "tensor")


@pytest.mark.parametrize("name", ["plain", "compressed"])
def test_totals_are_sums_and_round_zero_costs_nothing(name: str, request: pytest.FixtureRequest) -> None:
    result = request.getfixturevalue(name)
    rows, totals = result["rounds"], result["totals"]
    for key in ("up_bytes", "down_bytes", "up_payload_bytes", "down_payload_bytes", "encode_s", "decode_s"):
        assert totals[key] == sum(row[key] for row in rows)
        assert rows[0][key] == 0
    assert totals["total_bytes"] == totals["up_bytes"] + totals["down_bytes"]
    assert result["final"] == {key: rows[-1][key] for key in ("metric", "loss")}
    assert all((row["replies"], row["failures"]) == (3, 0) for row in rows[1:])
    assert all(row["train_s"] > 0 for row in rows[1:])


def test_bytes_are_those_of_the_grid(compressed: dict[str, Any], grids: list[LocalGrid]) -> None:
    for way in WAYS:
        for row in compressed["rounds"]:
            sent = [t.engine_bytes for t in grids[0].traffic if (t.direction, t.round) == (way, row["round"])]
            assert row[f"{way}_bytes"] == sum(sent)
            assert len(sent) == (3 if row["round"] else 0)


def test_uncompressed_is_stock_flower(plain: dict[str, Any]) -> None:
    dense = plain["model"]["dense_bytes"]
    for row in plain["rounds"][1:]:
        for way in WAYS:
            assert row[f"{way}_payload_bytes"] == 3 * dense < row[f"{way}_bytes"] < 3 * dense * 1.05
            assert row[f"{way}_nmse"] is None
    assert (plain["config"]["uplink"], plain["config"]["downlink"]) == (STOCK, STOCK)
    assert plain["totals"]["encode_s"] == 0


def test_payload_and_tensors_add_up(compressed: dict[str, Any]) -> None:
    for way in WAYS:
        tensors = sum(tensor[f"{way}_bytes"] for tensor in compressed["model"]["tensors"].values())
        assert (
            0.9 * compressed["totals"][f"{way}_payload_bytes"] < tensors < compressed["totals"][f"{way}_payload_bytes"]
        )
        assert compressed["totals"][f"{way}_payload_bytes"] < compressed["totals"][f"{way}_bytes"]
        assert all(0 < row[f"{way}_nmse"] < 1 for row in compressed["rounds"][1:])


def test_the_same_config_gives_the_same_run(compressed: dict[str, Any]) -> None:
    again = run(tiny(uplink="TopK(0.1)", downlink="Uniform(bits=8)"), group="own", name="own texts")
    assert without_times(again) == without_times(compressed)


def without_times(result: dict[str, Any]) -> dict[str, Any]:
    result = deepcopy(result)
    for part in (result["totals"], *result["rounds"]):
        for key in [key for key in part if key.endswith("_s")]:
            del part[key]
    return result


def test_configurations_differ_in_compression_alone(plain: dict[str, Any]) -> None:
    """Framed dense tensors train the same model: same rows, order and initial weights, up to rounding."""
    framed = run(tiny(uplink="none", downlink="none"))
    for row, other in zip(plain["rounds"], framed["rounds"], strict=True):
        assert row["loss"] == pytest.approx(other["loss"], rel=1e-4)
    assert framed["rounds"][0]["metric"] == plain["rounds"][0]["metric"]
    other_seed = run(tiny(seed=1))
    assert other_seed["rounds"][0]["loss"] != plain["rounds"][0]["loss"]


def test_one_direction_alone_leaves_the_other_dense(plain: dict[str, Any]) -> None:
    result = run(tiny(uplink="TopK(0.01)", rounds=1))
    assert result["config"]["downlink"] == "none"
    assert result["rounds"][1]["down_bytes"] > 0.9 * plain["rounds"][1]["down_bytes"]
    assert result["rounds"][1]["up_bytes"] < 0.1 * plain["rounds"][1]["up_bytes"]


@pytest.mark.parametrize("name", NAMES)
def test_every_strategy_runs_compressed(name: str) -> None:
    result = run(tiny(uplink="Uniform(bits=8)", downlink="Uniform(bits=8)", strategy=name, rounds=1))
    assert result["rounds"][1]["replies"] == 3
    assert result["rounds"][1]["loss"] != result["rounds"][0]["loss"]


def test_strategies_take_numbers() -> None:
    assert strategy("FedAvgM(server_momentum=0.9)").build(3, 1.0).server_momentum == 0.9
    assert strategy("Krum(num_malicious_nodes=1)").build(3, 1.0).num_malicious_nodes == 1


def test_fedprox_holds_clients_back() -> None:
    losses = [run(tiny(strategy=f"FedProx(proximal_mu={mu})", rounds=1))["final"]["loss"] for mu in (0, 5)]
    assert losses[0] < losses[1]


def test_the_proximal_term_pulls_to_the_start() -> None:
    model = nn.Linear(3, 2)
    with proximal(model, 2.0):
        model(torch.zeros(1, 3)).sum().backward()
        assert not model.weight.grad.any()
        with torch.no_grad():
            model.weight += 1.0
        model.zero_grad()
        model(torch.zeros(1, 3)).sum().backward()
        torch.testing.assert_close(model.weight.grad, torch.full((2, 3), 2.0))
    model.zero_grad()
    model(torch.zeros(1, 3)).sum().backward()
    assert not model.weight.grad.any()


def test_clients_that_diverge_are_failures_and_the_run_ends() -> None:
    rows = run(tiny(uplink="auto", downlink="auto", lr=1e30))["rounds"]
    assert [(row["replies"], row["failures"]) for row in rows[1:]] == [(0, 3), (0, 3)]
    assert rows[2]["metric"] == rows[0]["metric"]


def test_a_loss_that_is_no_number_is_null() -> None:
    assert run(tiny(lr=1e30))["final"]["loss"] is None


def test_rounds_are_told_as_they_end() -> None:
    told: list[int] = []
    run(tiny(), lambda row: told.append(row["round"]))
    assert told == [0, 1, 2]


def test_sampling_a_fraction() -> None:
    rows = run(tiny(clients=4, fraction_train=0.5, uplink="auto", downlink="auto"))["rounds"]
    assert [row["replies"] for row in rows] == [0, 2, 2]


def test_threads_are_put_back() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        run(tiny(rounds=1))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_settings_left_out_are_the_tasks() -> None:
    config, usual = RunConfig(rounds=3), RunConfig().found_task.training
    assert (config.training.rounds, config.training.clients) == (3, usual.clients)
    assert RunConfig(optimizer="Adagrad").training.momentum == 0
    parts = prepare(RunConfig(clients=4, partition="iid")).parts
    assert len(parts) == 4


def test_the_commit_is_ours_or_unknown(tmp_path: Any) -> None:
    assert commit(tmp_path) == "unknown"
    assert commit(PACKAGE)


def test_the_first_rows_are_those_of_both_sets() -> None:
    whole, some = (prepare(RunConfig(rows=rows)).data for rows in (None, 50))
    assert {len(column) for column in (*some.train, *some.test)} == {50}
    assert len(whole.test[0]) > 50


def test_what_was_to_be_compressed_and_was_not_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"round": 1, "up_nmse": 0.1, "down_nmse": None}
    _warn({"config": {"uplink": "auto", "downlink": "auto"}, "rounds": [row | {"round": 0}, row]})
    assert capsys.readouterr().err == "warning: nothing was compressed on the way down, though auto was asked for\n"
    _warn({"config": {"uplink": "none", "downlink": "stock Flower"}, "rounds": [row | {"up_nmse": None}]})
    assert capsys.readouterr().err == ""
