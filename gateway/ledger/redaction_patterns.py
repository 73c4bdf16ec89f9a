"""The operator's patterns for text to strike out."""

from collections.abc import Callable

from gateway.routing.rules import patterns

REPLACEMENT = "[struck out]"
"""The text in place of a match."""


def compile_redactor(pattern: str) -> Callable[[bytes], bytes]:
    """Return a function that replaces a pattern (RE2) in UTF-8 text. Raises ValueError.

    The error says what is wrong with the pattern.
    """
    re2 = patterns.load_re2()
    try:
        compiled = re2.compile(pattern, patterns.make_options())
    except re2.error as error:
        reason = error.args[0] if error.args else "not a pattern"
        text = reason.decode() if isinstance(reason, bytes) else str(reason)
        message = f"{pattern!r} is not a regular expression: {text}"
        raise ValueError(message) from None
    if compiled.search("") is not None:
        message = f"{pattern!r} matches the empty text, so it would redact everything"
        raise ValueError(message)

    def replace_matches(text: bytes) -> bytes:
        redacted: str = compiled.sub(REPLACEMENT, text.decode(errors="replace"))
        return redacted.encode()

    return replace_matches
