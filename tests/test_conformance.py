"""Every law for every codec instance: a new codec is one file plus one row."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from thinwire import registry
from thinwire.codec import Codec, Spec
from thinwire.testing import INSTANCES, LAWS, Row, conformance


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("row", INSTANCES, ids=str)
def test_law(row: Row, law: str) -> None:
    LAWS[law](row.codec, row.domain)


def test_every_registered_codec_has_a_row() -> None:
    covered = {type(row.codec).id for row in INSTANCES} | {
        type(inner).id for row in INSTANCES for inner in row.codec.children().values()
    }
    shipped = {id for id, cls in registry.codecs().items() if cls.tag < 128}
    assert shipped <= {type(row.codec).id for row in INSTANCES}
    assert covered >= shipped
