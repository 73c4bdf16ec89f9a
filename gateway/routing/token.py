"""A text in words, numbers and marks: what all who read a prompt's wording begin with."""

import re

TOKEN = re.compile(rb"[a-z]+|[0-9]+|[\x80-\xff]+|[^\sa-z0-9\x80-\xff]")
LETTERS = b"abcdefghijklmnopqrstuvwxyz"
DIGITS = b"0123456789"
PLAIN = bytes((*LETTERS, *LETTERS.upper(), *DIGITS, *b" \t\n\r\v\f"))
"""Bytes of words, numbers and spaces."""
KEPT, MOST_KEPT = 16, 4096
"""Bytes of a token, and tokens, of which facts are kept: half a megabyte of words."""
_KINDS = bytes.maketrans(LETTERS + DIGITS, b"a" * len(LETTERS) + b"0" * len(DIGITS))
_SIGNS = [b"%c" % sign for sign in range(128)]
_APART = [b" %c " % sign for sign in range(128)]


def tokens(text: str) -> list[bytes]:
    """Words, numbers and marks in order, in lower case."""
    low = text.lower()
    return split(low.encode("utf-8", "surrogatepass"), plain=text.isascii())


def split(low: bytes, *, plain: bool) -> list[bytes]:
    """As `tokens`, of a text in lower case; `plain` where it is ASCII."""
    if plain:
        kinds = low.translate(_KINDS)
        if b"a0" not in kinds and b"0a" not in kinds:
            # Only at marks is one token next to another: a space at each is quicker than a search.
            for sign in {*low.translate(None, PLAIN)}:
                low = low.replace(_SIGNS[sign], _APART[sign])
            return low.split()
    return TOKEN.findall(low)
