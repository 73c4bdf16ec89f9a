"""The branches of the gateway that an input takes, by the interpreter's own events.

A new input is worth keeping if it takes a branch that no kept input takes.
"""

import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from types import CodeType

_TOOL_ID = 4
"""One of the ids that Python gives to no kind of tool."""
_GATEWAY = str(Path(__file__).parents[2] / "gateway")

type Branch = tuple[str, int, int, int]
"""File and first line of a function, offset of its branch, and offset of where it goes."""


def find_branches(run: Callable[[], object]) -> set[Branch]:
    """Run a function, whatever it raises, and return the branches that it takes in the gateway."""
    branches: set[Branch] = set()
    monitoring = sys.monitoring
    event = monitoring.events.BRANCH

    def note(code: CodeType, offset: int, destination: int) -> object:
        if code.co_filename.startswith(_GATEWAY):
            branches.add((code.co_filename, code.co_firstlineno, offset, destination))
            return None
        return monitoring.DISABLE

    monitoring.use_tool_id(_TOOL_ID, "fuzz")
    try:
        monitoring.register_callback(_TOOL_ID, event, note)
        monitoring.restart_events()
        monitoring.set_events(_TOOL_ID, event)
        with suppress(Exception):  # a failure takes branches, too
            run()
    finally:
        monitoring.set_events(_TOOL_ID, 0)
        monitoring.free_tool_id(_TOOL_ID)
    return branches


def choose_new(
    check: Callable[[bytes], None], kept: Iterable[bytes], candidates: Iterable[bytes]
) -> list[bytes]:
    """Return the candidates that take a branch that no kept or chosen input takes; short first."""
    known: set[Branch] = set()
    for data in kept:
        known |= find_branches(lambda data=data: check(data))  # type: ignore[misc]
    chosen = []
    for data in sorted(set(candidates), key=lambda data: (len(data), data)):
        branches = find_branches(lambda data=data: check(data))  # type: ignore[misc]
        if branches - known:
            known |= branches
            chosen.append(data)
    return chosen
