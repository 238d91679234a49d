"""What the documents say is true: their code runs, their links lead somewhere, their figures come from results/."""

from __future__ import annotations

import re
import sys
import textwrap
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT / "bench"))
import figures  # noqa: E402

PAGES = figures.PAGES
PRELUDE = "from thinwire.flower import compress_server\n"
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    links = re.findall(r"\]\(([^)#:]+)\)", text) + re.findall(r'src="([^":]+)"', text)
    missing = [link for link in links if not (page.parent / link).exists()]
    assert not missing


@pytest.mark.parametrize(
    "block", re.findall(r"```python\n(.*?)```", README, re.S), ids=lambda block: block.strip()[:30]
)
def test_code_in_the_readme_runs(block: str) -> None:
    pytest.importorskip("flwr")
    from flwr.clientapp import ClientApp
    from flwr.serverapp import ServerApp

    names = {"update": torch.randn(64, 48), "client_app": ClientApp(), "server_app": ServerApp()}
    exec(compile(PRELUDE + textwrap.dedent(block), "README.md", "exec"), names)


def test_the_descriptions_in_the_methods_page_parse() -> None:
    from thinwire import parse

    text = (ROOT / "docs" / "methods.md").read_text()
    found = re.findall(r"`((?:Uniform|Step|TopK|RandomK|LowRank|ErrorBound|Smallest)\([^`|]*=[^`|]*\))`", text)
    assert len(found) > 5
    for description in found:
        if not re.search(r"\b[a-z]+(, [a-z]+)*\)$", description):
            parse(description)


def test_figures_come_from_results() -> None:
    shown = [found for page in figures.PAGES for found in figures.marked(page.read_text())]
    assert len(shown) >= 30
    stale = {marker: text for marker, text in shown if figures.figure(marker) != text}
    assert not stale, "out of date: run `python bench/figures.py`"
