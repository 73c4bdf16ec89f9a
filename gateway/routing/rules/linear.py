"""RE2, whose searches take linear time: imported with the first pattern, for it is 3 MB.

A configuration without a pattern never asks for it.
"""

from types import ModuleType
from typing import Any


def engine() -> ModuleType:
    """The library."""
    import re2  # noqa: PLC0415 - see above

    found: ModuleType = re2
    return found


def options(**changes: object) -> Any:
    """How it compiles a pattern; errors are raised and not written to stderr."""
    made = engine().Options()
    made.log_errors = False
    for name, value in changes.items():
        setattr(made, name, value)
    return made
