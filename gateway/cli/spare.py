"""What libraries would import for uses that this program has not, and can do without.

httpx has a command line of its own, which brings rich and pygments wherever these are installed;
FastAPI looks for models of pydantic's first version. Both take the absence of what they look for:
7 MB of memory and 80 ms of each start. uvicorn does not: it names what watches over processes, and
what reads a configuration of logs, and uses them only where it is told to; with multiprocessing and
what else they bring they are another MB. The first is hollow then, since nobody else has a use for
it; the other is read once anybody uses it.
"""

import logging
import sys
from types import ModuleType
from typing import Any

UNUSED = ("httpx._main", "pydantic.v1")
_HOLLOW = "uvicorn.supervisors"
_LATE = "logging.config"


class Hollow(ModuleType):
    """A module that has whatever is asked of it, as None."""

    def __getattr__(self, name: str) -> None:
        """Nothing. Raises AttributeError for what Python itself asks."""
        if name.startswith("__"):
            raise AttributeError(name)


class Late(ModuleType):
    """Stands for `logging.config` until something of it is used."""

    def __getattr__(self, name: str) -> Any:
        """Of the module itself. Raises AttributeError for what Python itself asks."""
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        import logging.config as real  # noqa: PLC0415 - this is when

        return getattr(real, name)


def spare() -> None:
    """Have them not be found, be hollow, or be late; what is there already stays."""
    for name in UNUSED:
        # None is how Python's import system is told that there is none.
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]
    sys.modules.setdefault(_HOLLOW, Hollow(_HOLLOW))
    if _LATE not in sys.modules:
        sys.modules[_LATE] = logging.config = Late(_LATE)
