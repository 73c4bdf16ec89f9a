"""The gateway with a wall clock that is read from a file: `python -m tests.agents.clocked FILE ...`."""

import mmap
import struct
import sys
import time
from pathlib import Path


def main() -> None:
    """Replace the clock, then run `tiergate`."""
    with Path(sys.argv.pop(1)).open("r+b") as file:
        held = mmap.mmap(file.fileno(), 8)
    time.time = lambda: struct.unpack("d", held[:8])[0]
    from gateway.cli import main as tiergate  # noqa: PLC0415 - it reads the clock at import

    tiergate()


main()
