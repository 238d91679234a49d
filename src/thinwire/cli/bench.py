"""Measure what the documents claim, on this machine and on real data: benchmarks by name."""

from __future__ import annotations

from thinwire.cli import codecs, selectors

SUMMARY = "measure speed and quality on this machine"
EPILOG = """examples:
  thinwire bench selectors                      every way to select, on recorded gradients and on distributions
  thinwire bench selectors --sources recorded   on recorded gradients alone, in half a minute
  thinwire bench codecs --quick                 bytes at an error and speed, ours and rivals, on a real update
  thinwire bench codecs --help                  all options of this benchmark"""
PARTS = {"selectors": selectors, "codecs": codecs}
"""The benchmarks, each a command of its own."""
