"""A text in words, numbers and marks: what all who read a prompt's wording begin with."""

import re
from collections.abc import Iterable

TOKEN = re.compile(
    rb"[a-z]+|[0-9]+"
    rb"|[\xe3-\xed][\x80-\xbf]{2}"  # a character of a script whose words no spaces part
    rb"|(?:[\xc2-\xe2\xee-\xf4][\x80-\xbf]+)+"
    rb"|[^\sa-z0-9\x80-\xff]"
)
LETTERS = b"abcdefghijklmnopqrstuvwxyz"
DIGITS = b"0123456789"
PLAIN_BYTES = bytes((*LETTERS, *LETTERS.upper(), *DIGITS, *b" \t\n\r\v\f"))
"""Bytes of words, numbers and spaces."""
MAX_CACHED_TOKEN_BYTES, MAX_CACHED_TOKENS = 16, 4096
"""Bytes of a token, and tokens, of which facts are kept: half a megabyte of words."""
_MARK_BYTES = [b"%c" % mark for mark in range(128)]
_SPACED_MARKS = [b" %c " % mark for mark in range(128)]


def tokenize(text: str) -> list[bytes]:
    """Words, numbers and marks in order, in lower case."""
    return TOKEN.findall(text.lower().encode("utf-8", "surrogatepass"))


def split_pieces(lower_text: bytes, marks: bytes) -> list[bytes]:
    """As `tokenize`, of ASCII in lower case, but that a word and a number may be in one piece.

    `marks` are its bytes, once or more, that are neither letters nor digits. Only at marks and
    between words and numbers is one token next to another, and that is seldom: a space at each mark
    is quicker than a search.
    """
    for mark in {*marks}:
        lower_text = lower_text.replace(_MARK_BYTES[mark], _SPACED_MARKS[mark])
    return lower_text.split()


def split_mixed(pieces: list[bytes], mixed_indexes: Iterable[int]) -> list[bytes]:
    """The tokens of a text by its pieces, of which some, by their places in order, are mixed."""
    tokens, start = list[bytes](), 0
    for index in mixed_indexes:
        tokens += pieces[start:index]
        tokens += TOKEN.findall(pieces[index])
        start = index + 1
    return tokens + pieces[start:]
