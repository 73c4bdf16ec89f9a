"""A text in words, numbers and marks: what all who read a prompt's wording begin with."""

import re
from collections.abc import Iterable

TOKEN = re.compile(rb"[a-z]+|[0-9]+|[\x80-\xff]+|[^\sa-z0-9\x80-\xff]")
LETTERS = b"abcdefghijklmnopqrstuvwxyz"
DIGITS = b"0123456789"
PLAIN = bytes((*LETTERS, *LETTERS.upper(), *DIGITS, *b" \t\n\r\v\f"))
"""Bytes of words, numbers and spaces."""
KEPT, MOST_KEPT = 16, 4096
"""Bytes of a token, and tokens, of which facts are kept: half a megabyte of words."""
_SIGNS = [b"%c" % sign for sign in range(128)]
_APART = [b" %c " % sign for sign in range(128)]


def tokens(text: str) -> list[bytes]:
    """Words, numbers and marks in order, in lower case."""
    return TOKEN.findall(text.lower().encode("utf-8", "surrogatepass"))


def pieces(low: bytes, marks: bytes) -> list[bytes]:
    """As `tokens`, of ASCII in lower case, but that a word and a number may be in one piece.

    `marks` are its bytes, once or more, that are neither letters nor digits. Only at marks and
    between words and numbers is one token next to another, and that is seldom: a space at each mark
    is quicker than a search.
    """
    for sign in {*marks}:
        low = low.replace(_SIGNS[sign], _APART[sign])
    return low.split()


def parted(found: list[bytes], mixed: Iterable[int]) -> list[bytes]:
    """The tokens of a text by its pieces, of which some, by their places in order, are mixed."""
    whole, last = list[bytes](), 0
    for at in mixed:
        whole += found[last:at]
        whole += TOKEN.findall(found[at])
        last = at + 1
    return whole + found[last:]
