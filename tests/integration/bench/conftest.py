"""Makes the load tests importable: they live outside the installed package."""

import sys
from pathlib import Path

LOADTESTS = str(Path(__file__).resolve().parents[3] / "loadtests")
if LOADTESTS not in sys.path:
    sys.path.insert(0, LOADTESTS)
