"""The hash of what was averaged: of every byte and its place."""

from __future__ import annotations

import pytest
import torch

from thinwire.collective.settle import _COLUMNS, _on_cpu, _on_device, digest_of

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.complex64]
ROW = _COLUMNS[0]
COUNTS = [0, 1, 3, 4 * ROW - 1, 4 * ROW, 20_011]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", COUNTS)
def test_every_element_and_its_place_counts(dtype: torch.dtype, count: int) -> None:
    x = torch.randn(count, generator=torch.Generator().manual_seed(count)).to(dtype)
    digest = digest_of(x)
    assert digest == digest_of(x.clone())
    assert 0 <= digest < 1 << 64
    for at in {0, count // 2, count - 1} if count else ():
        changed = x.clone()
        changed[at] += 1
        assert digest_of(changed) != digest
    for shift in (1, 2, 4096, 2 * ROW, count // 2) if count > 1 else ():
        assert digest_of(x.roll(shift)) != digest or torch.equal(x.roll(shift), x)


def test_signs_of_zero_and_bits_of_nan_count() -> None:
    x = torch.zeros(5000)
    assert len({digest_of(x), digest_of(-x), digest_of(x / 0), digest_of(x[1:])}) == 4


def test_both_devices_come_to_the_same() -> None:
    raw = torch.randn(300 * ROW, generator=torch.Generator().manual_seed(0)).view(torch.uint8)[: 8 * 130 * ROW]
    assert _on_cpu(raw, ROW).tolist() == _on_device(raw, ROW).tolist()
    assert _on_cpu(raw[8 : 16 * ROW + 8], ROW).tolist() == _on_device(raw[8 : 16 * ROW + 8], ROW).tolist()
