"""What libraries would import for uses that this program has not, and can do without.

httpx has a command line of its own, which brings rich and pygments wherever these are installed;
FastAPI looks for models of pydantic's first version. Both take the absence of what they look for:
7 MB of memory and 80 ms of each start. uvicorn does not: it names what watches over processes, and
what reads a configuration of logs, and uses them only where it is told to; with multiprocessing and
what else they bring they are another MB.
"""

import sys
from types import ModuleType

UNUSED = ("httpx._main", "pydantic.v1")
UNASKED = ("uvicorn.supervisors", "logging.config")


class Hollow(ModuleType):
    """A module that has whatever is asked of it, as None."""

    def __getattr__(self, name: str) -> None:
        """Nothing. Raises AttributeError for what Python itself asks."""
        if name.startswith("__"):
            raise AttributeError(name)


def spare() -> None:
    """Have them not be found, or be hollow; what is there already stays."""
    for name in UNUSED:
        # None is how Python's import system is told that there is none.
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]
    for name in UNASKED:
        sys.modules.setdefault(name, Hollow(name))
