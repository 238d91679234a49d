"""`python -m thinwire.cli` is `thinwire`."""

import sys

from thinwire.cli import main

if __name__ == "__main__":
    sys.exit(main())
