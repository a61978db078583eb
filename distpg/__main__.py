"""``python -m distpg``."""

from __future__ import annotations

import sys

from distpg.commands.cli import main

if __name__ == "__main__":
    sys.exit(main())
