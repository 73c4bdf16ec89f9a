"""Mask the gateway's own credential where a provider quotes it in an error.

Nothing else is masked: the gateway passes an answer on as it is. A short credential is left alone
too. It may be a common word, such as the `none` and `ollama` that people give to engines without
keys, and an error must stay readable.
"""

import functools
import re

import msgspec

from gateway.core.errors import Problem

MIN_MASKED_LENGTH = 16
"""Characters of the shortest credential that is masked."""
_MASK = "***"
_MAX_SPELLED = 128
"""Characters of a credential that the pattern spells. The rest of a cloud's token, which may have
4,000, is what tokens consist of: to compile 4,000 would hold the event loop for half a second."""
_REST = r"[\w.~+/=%\\-]*"
_MAX_PATTERNS = 64
"""The number of credentials whose patterns are kept: each answer with an id of its request asks for
one."""
_MAX_BACKSLASHES = 8
"""The most backslashes before a character: JSON within JSON, a few levels deep."""


def mask_body(secret: str, data: bytes) -> bytes:
    """Mask an error body; return the very same bytes if nothing is to be masked."""
    if len(secret) < MIN_MASKED_LENGTH:
        return data
    substitution = _compile_pattern(secret).subn(_MASK, data.decode("utf-8", "surrogateescape"))
    return substitution[0].encode("utf-8", "surrogateescape") if substitution[1] else data


def mask_text(secret: str, value: str) -> str:
    """Mask a provider's text: a message, or the value of a header."""
    return value if len(secret) < MIN_MASKED_LENGTH else _compile_pattern(secret).sub(_MASK, value)


def mask_problem(secret: str, provider_problem: Problem) -> Problem:
    """Mask a provider's error: its body and its message."""
    masked_body = (
        None if provider_problem.body is None else mask_body(secret, provider_problem.body)
    )
    message = mask_text(secret, provider_problem.message)
    if masked_body is provider_problem.body and message == provider_problem.message:
        return provider_problem
    return msgspec.structs.replace(provider_problem, body=masked_body, message=message)


@functools.lru_cache(_MAX_PATTERNS)
def _compile_pattern(secret: str) -> re.Pattern[str]:
    """Return a pattern for a credential in plain text, in JSON a few levels deep, and in a URL."""
    spelled = "".join(map(_spell_character, secret[:_MAX_SPELLED]))
    return re.compile(spelled + (_REST if len(secret) > _MAX_SPELLED else ""))


def _spell_character(char: str) -> str:
    units = char.encode("utf-16-be").hex(" ", 2).split()
    escaped = "".join(rf"\\{{1,{_MAX_BACKSLASHES}}}u(?i:{unit})" for unit in units)
    url_encoded = "".join(f"%(?i:{byte})" for byte in char.encode().hex(" ").split())
    letter = _ESCAPE_LETTERS.get(char)
    letter_escape = rf"|\\{{1,{_MAX_BACKSLASHES}}}{letter}" if letter else ""
    return (
        rf"(?:\\{{0,{_MAX_BACKSLASHES}}}{re.escape(char)}|{escaped}|{url_encoded}{letter_escape})"
    )


_ESCAPE_LETTERS = {"\n": "n", "\r": "r", "\t": "t", "\b": "b", "\f": "f"}
"""Characters that JSON escapes with a letter."""
