"""What the documents say is true: their code runs, their links lead somewhere, their figures come from results/."""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]
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


def figures() -> list[tuple[str, str]]:
    """Every figure that a page marks with the file and the path in it that it comes from: `<!--=file:path-->31x`."""
    pages = "\n".join(page.read_text() for page in PAGES)
    return re.findall(r"<!--=([^>]+?)-->\s*\**([+-]?[\d.,]*\d)", pages)


def item(value: dict | list, key: str) -> object:
    """Return ``value[key]``; in a list, the item at an index or the one with a field, such as ``group=auto``."""
    if isinstance(value, dict):
        return value[key]
    if key.isdigit():
        return value[int(key)]
    field, wanted = key.split("=", 1)
    return next(entry for entry in value if entry[field] == wanted)


def test_figures_come_from_results() -> None:
    assert len(figures()) >= 30
    for source, shown in figures():
        file, path, form = re.fullmatch(r"([^:]+):([^ ]+) (.+)", source).groups()
        value = json.loads((ROOT / "results" / file).read_text())
        for key in path.split("/"):
            value = item(value, key)
        assert format(value * (100 if form.endswith("%") else 1), form.rstrip("%")) == shown, source
