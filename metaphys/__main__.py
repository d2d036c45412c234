"""``python -m metaphys``: the command line, where the program's folder is not on the path."""

import sys

from metaphys.cli import main

if __name__ == "__main__":
    sys.exit(main())
