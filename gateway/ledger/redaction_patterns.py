"""Patterns of what is struck out of kept text."""

from collections.abc import Callable

from gateway.routing.rules import patterns

STRUCK = "[struck out]"
"""What stands in its place."""


def strike(pattern: str) -> Callable[[bytes], bytes]:
    """What strikes a pattern (RE2) out of UTF-8 text. Raises ValueError, which says why not."""
    re2 = patterns.engine()
    try:
        compiled = re2.compile(pattern, patterns.options())
    except re2.error as error:
        reason = error.args[0] if error.args else "not a pattern"
        text = reason.decode() if isinstance(reason, bytes) else str(reason)
        message = f"{pattern!r} is not a regular expression: {text}"
        raise ValueError(message) from None
    if compiled.search("") is not None:
        message = f"{pattern!r} matches nothing at all, so it would strike out everything"
        raise ValueError(message)

    def struck(text: bytes) -> bytes:
        found: str = compiled.sub(STRUCK, text.decode(errors="replace"))
        return found.encode()

    return struck
