"""``python -m metaphys.cli``."""

import sys

from metaphys.cli import main

if __name__ == "__main__":
    sys.exit(main())
