"""`python -m tlab` is the command `tlab`."""

import sys

from tlab.cli.commands import main

if __name__ == "__main__":
    sys.exit(main())
