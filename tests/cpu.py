"""The CPU time of another process, which other load on the machine does not change."""

import os
from pathlib import Path


def cpu_seconds(pid: int) -> float:
    """Return the seconds of CPU that a process has used, over all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
