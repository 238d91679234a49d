"""Structure-aware fuzzing of the decoder. Bytes in: a message, or WireError, and nothing else.

for sample, verdict in verdicts(corpus(), mutations=1000, seed=7):
    assert not verdict.startswith(BUG), (verdict, sample.data.hex())
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from random import Random

import torch

from thinwire import wire
from thinwire.codec import Spec, decode, encode
from thinwire.errors import WireError
from thinwire.testing.instances import INSTANCES, Row
from thinwire.testing.mutate import Sample, mutant
from thinwire.testing.tensors import suited

BUG = "BUG: "
ACCEPTED = "accepted"


def corpus(rows: Sequence[Row] = INSTANCES, shape: tuple[int, ...] = (24, 5)) -> list[Sample]:
    """Return a frame for every row, with tensors of three dtypes and shapes; every third has its schema inline."""
    return [_sample(row, shape, seed, inline=seed % 3 == 0) for seed, row in enumerate(rows)]


def _sample(row: Row, shape: tuple[int, ...], seed: int, inline: bool) -> Sample:
    tensors = {"a": suited(row.domain, shape, seed=seed)}
    if row.domain == "update":
        tensors |= {"b": suited("update", (9, 14), torch.bfloat16, seed), "c": torch.arange(5)}
    message = {name: encode(row.codec, x, seed=seed) for name, x in tensors.items()}
    expect = {name: encoded.spec for name, encoded in message.items()}
    return Sample(wire.dumps(message, schema=inline), None if inline else expect)


def verdicts(samples: Sequence[Sample], mutations: int, seed: int) -> Iterator[tuple[Sample, str]]:
    """Yield mutants and what came of each: ``accepted``, a reason, or a text that starts with ``BUG``.

    The mutants are a function of the samples and the seed alone.
    """
    rng = Random(seed)
    for _ in range(mutations):
        sample = mutant(rng, samples)
        yield sample, _judge_all(sample)


def _judge_all(sample: Sample) -> str:
    try:
        return judge(sample)
    except Exception as error:
        return f"{BUG}{type(error).__name__}: {error}"


def judge(sample: Sample) -> str:
    """Return ``accepted`` if every tensor decodes to exactly its spec, or the reason of a WireError."""
    try:
        message = sample.read()
        decoded = {name: Spec.of(decode(encoded)) for name, encoded in message.items()}
    except WireError as error:
        return _without_numbers(str(error))
    expected = sample.expect or {name: encoded.spec for name, encoded in message.items()}
    if decoded != expected:
        raise AssertionError(f"decoded to {decoded} instead of {expected}")
    return ACCEPTED


def _without_numbers(text: str) -> str:
    return re.sub(r"'[^']*'|\"[^\"]*\"|b'.*'|\([^)]*\)|-?\d[\w.+-]*|\bnan\b|-?\binf\b", "_", text)[:80]
