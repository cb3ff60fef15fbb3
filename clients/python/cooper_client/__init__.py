"""A client of Cooper and of every other daemon that speaks BuildKit's protocol."""

import sys
from pathlib import Path

# The generated modules import each other by their bare names.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "generated"))
