"""Packing and unpacking take a fraction of the file, mapped pages included: models may be larger than memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

MOST_BYTES = 512 << 20
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads peak memory from /proc")


def peaks(folder: Path, *goals: str) -> dict[str, list[int]]:
    script = Path(__file__).parents[1] / "checkpoint_memory.py"
    done = subprocess.run([sys.executable, script, folder, *goals], check=True, capture_output=True, timeout=1500)
    found = json.loads(done.stdout)
    assert found.pop("file") > 1.5 * MOST_BYTES
    assert found.keys() == set(goals)
    return found


@linux
def test_a_file_larger_than_its_memory(tmp_path: Path) -> None:
    found = peaks(tmp_path, "codec")
    assert max(found["codec"]) < MOST_BYTES, found


@linux
@pytest.mark.slow
def test_every_goal_in_a_part_of_the_file(tmp_path: Path) -> None:
    found = peaks(tmp_path, "lossless", "bound", "budget")
    assert max(max(pair) for pair in found.values()) < MOST_BYTES, found
