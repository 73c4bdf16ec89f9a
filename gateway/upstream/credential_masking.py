"""Masks the gateway's own credential where a provider quotes it in an error.

Nothing else of a provider is masked: an answer is passed on as it is. A short credential is left
alone too. It may be a common word, as the `none` and `ollama` that people give to engines without
keys, and an error is to be read.
"""

import re

import msgspec

from gateway.core.errors import Problem
from gateway.core.target import Account

LEAST = 16
"""Characters of the shortest credential that is masked."""
_MASK = "***"
_MOST_ESCAPES = 8
"""Backslashes before a character: of JSON within JSON, a few levels deep."""


def body(account: Account, data: bytes) -> bytes:
    """Mask an error body; the very same bytes if nothing is to be masked."""
    if len(account.secret) < LEAST:
        return data
    found = _pattern(account.secret).subn(_MASK, data.decode("utf-8", "surrogateescape"))
    return found[0].encode("utf-8", "surrogateescape") if found[1] else data


def text(account: Account, said: str) -> str:
    """Mask words of a provider: a message, or the value of a header."""
    return said if len(account.secret) < LEAST else _pattern(account.secret).sub(_MASK, said)


def problem(account: Account, told: Problem) -> Problem:
    """Mask a provider's error: its body, and its message."""
    own = None if told.body is None else body(account, told.body)
    message = text(account, told.message)
    if own is told.body and message == told.message:
        return told
    return msgspec.structs.replace(told, body=own, message=message)


def _pattern(secret: str) -> re.Pattern[str]:
    """Match a credential in plain text, in JSON at any depth, and in a URL."""
    return re.compile("".join(map(_spelled, secret)))


def _spelled(char: str) -> str:
    units = char.encode("utf-16-be").hex(" ", 2).split()
    escaped = "".join(rf"\\{{1,{_MOST_ESCAPES}}}u(?i:{unit})" for unit in units)
    quoted = "".join(f"%(?i:{byte})" for byte in char.encode().hex(" ").split())
    letter = _LETTERS.get(char)
    short = rf"|\\{{1,{_MOST_ESCAPES}}}{letter}" if letter else ""
    return rf"(?:\\{{0,{_MOST_ESCAPES}}}{re.escape(char)}|{escaped}|{quoted}{short})"


_LETTERS = {"\n": "n", "\r": "r", "\t": "t", "\b": "b", "\f": "f"}
"""Characters that JSON writes as an escape of a letter."""
