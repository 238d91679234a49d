"""Hostile frames: a message of exactly the expected specs, or WireError, in memory that the schema bounds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from thinwire.testing import INSTANCES
from thinwire.testing.fuzz import ACCEPTED, BUG, corpus, judge, verdicts
from thinwire.testing.mutate import mutant

ROOT = Path(__file__).parents[1]
MOST_BYTES_PER_ELEMENT = 64
"""Measured: 33 where bfloat16 is decoded from Uniform, 58 for nested sparse codecs that keep everything."""


def check(mutations: int, seed: int) -> set[str]:
    """Return the verdicts of a run in which every one is a refusal or an exact message."""
    seen = set()
    for sample, verdict in verdicts(corpus(), mutations, seed):
        assert not verdict.startswith(BUG), f"{verdict} <- {sample.data.hex()} expecting {sample.expect}"
        seen.add(verdict)
    return seen


@pytest.mark.parametrize("seed", range(8))
def test_mutants_decode_exactly_or_raise_wire_error(seed: int) -> None:
    seen = check(2_000, seed)
    assert ACCEPTED in seen
    assert len(seen) > 30


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 120))
def test_many_mutants_decode_exactly_or_raise_wire_error(seed: int) -> None:
    check(10_000, seed)


def test_the_corpus_is_accepted_and_has_a_frame_for_every_row() -> None:
    samples = corpus()
    assert len(samples) == len(INSTANCES)
    assert {judge(sample) for sample in samples} == {ACCEPTED}


def test_mutants_are_a_function_of_the_seed() -> None:
    samples = corpus()
    one, same, other = ([mutant(rng, samples).data for _ in range(50)] for rng in (Random(1), Random(1), Random(2)))
    assert one == same
    assert one != other


def test_a_bug_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(*_: object) -> None:
        raise IndexError("out of range")

    monkeypatch.setattr("thinwire.codecs.sparse.pairs.ascending", careless)
    assert any(verdict.startswith(BUG) for _, verdict in verdicts(corpus(), 300, 1))


linux = pytest.mark.skipif(sys.platform != "linux", reason="reads peak memory from /proc")


@linux
@pytest.mark.parametrize("mutations", [2000, pytest.param(4000, marks=pytest.mark.slow)])
def test_the_fuzzer_finds_nothing_in_a_tight_address_space(tmp_path: Path, mutations: int) -> None:
    out = tmp_path / "fuzz.json"
    command = [
        sys.executable,
        "bench/fuzz.py",
        "--mutations",
        str(mutations),
        "--headroom-mib",
        "32",
        "--out",
        str(out),
    ]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    result = json.loads(out.read_text())
    assert result["bugs"] == []
    assert result["accepted"] + sum(result["refused"].values()) == mutations
    assert result["slowest_s"] < 1
    assert result["peak_bytes_above_baseline"] < 32 << 20


@linux
@pytest.mark.parametrize("dtype", ["float32", pytest.param("bfloat16", marks=pytest.mark.slow)])
def test_decoding_takes_memory_in_proportion_to_the_schema_whatever_the_frame(dtype: str) -> None:
    command = [sys.executable, "tests/peak_memory.py", dtype]
    run = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=240)
    peaks = json.loads(run.stdout)
    assert len(peaks) > 40
    assert {name: peak for name, peak in peaks.items() if peak > MOST_BYTES_PER_ELEMENT} == {}
