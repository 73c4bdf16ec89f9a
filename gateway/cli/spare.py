"""What libraries would import for uses that this program has not, and can do without.

httpx has a command line of its own, which brings rich and pygments wherever these are installed;
FastAPI looks for models of pydantic's first version. Both take the absence of what they look for:
7 MB of memory and 80 ms of each start.
"""

import sys

UNUSED = ("httpx._main", "pydantic.v1")


def spare() -> None:
    """Have them not be found; what is there already stays."""
    for name in UNUSED:
        # None is how Python's import system is told that there is none.
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]
