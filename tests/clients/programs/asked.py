"""The tasks of every program, and its output: the arguments are a URL, a model and a way."""

import json
import sys
from collections.abc import Callable

URL, MODEL, WAY = sys.argv[1:4]
KEY = "unused"
SYSTEM = "Be brief."
CALLS: list[list[object]] = []
"""Calls of the tool in the current part."""


def weather(city: str, days: int = 1) -> str:
    """Tells it."""
    given: dict[str, object] = {"city": city} if days == 1 else {"city": city, "days": days}
    CALLS.append(["weather", given])
    return f"{city}: {days} days of sun"


def tell(**parts: Callable[[], object]) -> None:
    """Run each part and print its result; for an error print its status and its words."""
    seen: dict[str, object] = {}
    for name, part in parts.items():
        CALLS.clear()
        try:
            seen[name] = part()
        except Exception as error:  # noqa: BLE001 - every error is printed
            cause: BaseException = error
            status = getattr(cause, "status_code", None)
            seen[name] = {"status": status or 0, "error": f"{error} {error.__cause__ or ''}"}
    print(json.dumps(seen))


def parts(
    text: Callable[[str, bool], object], loop: Callable[[str, bool], str]
) -> dict[str, Callable[[], object]]:
    """Return each program's parts: text and a loop of tools, whole and streamed, and errors."""

    def looped(stream: bool) -> object:
        answer = loop("[loop]", stream)
        return {"text": answer, "calls": list(CALLS)}

    return {
        "whole": lambda: text("[hello]", False),
        "stream": lambda: text("[hello]", True),
        "loop": lambda: looped(False),
        "streamed_loop": lambda: looped(True),
        "error": lambda: text("[fail]", False),
        "streamed_error": lambda: text("[fail]", True),
    }
