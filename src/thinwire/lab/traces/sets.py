"""Public sets of bandwidth traces, read from the zip files in the folder ``traces`` of a data folder."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from thinwire.errors import unknown
from thinwire.lab.tasks.folder import ENVIRONMENT_NAME, DataNotFound, data_dir, locate
from thinwire.lab.traces.formats import bitrates, columns, packets
from thinwire.lab.traces.trace import BadTrace, Floats, Trace

FOLDERS = ("traces", ".")
DRAWS, DRAW_S = 360, 10.0
"""A phone's link is drawn anew every 10 seconds, for an hour."""
LEAST_BPS = 8e3

Traces = dict[str, Trace]


@dataclass(frozen=True)
class TraceSet:
    """One set: its file, what it is and how it is read."""

    file: str
    summary: str
    read: Callable[[Path], Traces]


def load(name: str, root: str | Path | None = None) -> Traces:
    """Return the traces of a set by name, from a data folder or the one that THINWIRE_DATA names.

    Raises ValueError for an unknown set, DataNotFound where its file is missing, BadTrace where it cannot be read.
    """
    if name not in SETS:
        raise ValueError(unknown("set of traces", name, SETS))
    folder = data_dir(root)
    found = locate(folder, FOLDERS, (SETS[name].file,)) if folder else []
    if not found:
        raise DataNotFound(
            f"traces {name}: expected traces/{SETS[name].file} in the data folder ({folder or 'none was given'}); "
            f"name the folder by {ENVIRONMENT_NAME}"
        )
    traces = SETS[name].read(found[0])
    if not traces:
        raise BadTrace(f"{found[0]}: no trace in it")
    return traces


def _members(path: Path, wanted: Callable[[str], bool], parse: Callable[[str], Trace]) -> Traces:
    return {name: _named(name, text, parse) for name, text in _texts(path, wanted)}


def _texts(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, str]]:
    try:
        with zipfile.ZipFile(path) as archive:
            for name in sorted(filter(wanted, archive.namelist())):
                yield name, archive.read(name).decode("utf8", "replace")
    except (zipfile.BadZipFile, OSError) as error:
        raise BadTrace(f"{path}: {error}") from error


def _named(name: str, text: str, parse: Callable[[str], Trace]) -> Trace:
    try:
        return parse(text)
    except BadTrace as error:
        raise BadTrace(f"{name}: {error}") from None


def _cellular(path: Path) -> Traces:
    return _members(path, lambda name: name.endswith((".up", ".down")), packets)


def _commutes(path: Path) -> Traces:
    # The folder cooked_3gp is of the same journeys, without the outages.
    return _members(path, lambda name: name.startswith("hsdpa_full/") and name.endswith(".log"), columns)


def _fixed_lines(path: Path) -> Traces:
    return _members(path, lambda name: name.startswith("trace_"), columns)


def _downloads(path: Path) -> Traces:
    # The other folders hold video players, which ask for less than the link offers.
    return _members(path, lambda name: "/Download/" in name and name.endswith(".csv") and name[0] != "_", bitrates)


def _phones(path: Path) -> Traces:
    try:
        phones = json.loads(path.read_text(encoding="utf8"))
        return {name: _drawn(at, phone) for at, (name, phone) in enumerate(sorted(phones.items()))}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadTrace(f"{path}: expected name -> up_u and up_sigma, in kB/s: {error!r}") from error


def _drawn(seed: int, phone: dict[str, float]) -> Trace:
    """Return an uplink of normal draws: the source has distributions (kB/s) and no series."""
    rng = np.random.default_rng(seed)
    drawn: Floats = rng.normal(float(phone["up_u"]), float(phone["up_sigma"]), DRAWS) * 8e3
    return Trace(np.linspace(0.0, DRAWS * DRAW_S, DRAWS + 1), np.maximum(drawn, LEAST_BPS))


SETS = {
    "cellular": TraceSet("mahimahi_cellular.zip", "US 3G and LTE while driving, up and down", _cellular),
    "commutes": TraceSet("norway_3g_hsdpa.zip", "3G downlink on Oslo commutes, with outages", _commutes),
    "fixed-lines": TraceSet("fcc_broadband.zip", "US fixed lines, downlink", _fixed_lines),
    "5g": TraceSet("5G-production-dataset.zip", "downloads over an Irish 5G network", _downloads),
    "phones": TraceSet("flash_speed_distri.json", "uplinks drawn from phones' means and deviations", _phones),
}
"""Winstein, Sivaraman, Balakrishnan 2013; Riiser et al. 2013; FCC 2016; Raca et al. 2020; Yang et al. 2021."""
