"""The picture of the README, from a folder of runs: python bench/overview.py results/digits results/overview.svg."""

from __future__ import annotations

import sys
from pathlib import Path

from thinwire.files import write_files
from thinwire.lab.report import overview_svg, write_report


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    report = write_report(Path(sys.argv[1])).report
    write_files({Path(sys.argv[2]): overview_svg(report)})
    print(report.verdict.sentence)


if __name__ == "__main__":
    main()
