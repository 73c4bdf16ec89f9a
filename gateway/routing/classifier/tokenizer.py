"""Splits a text into words, numbers and marks, for all code that reads a prompt's words."""

import re
from collections.abc import Iterable

TOKEN = re.compile(
    rb"[a-z]+|[0-9]+"
    rb"|[\xe3-\xed][\x80-\xbf]{2}"  # a character of a script that has no spaces between words
    rb"|(?:[\xc2-\xe2\xee-\xf4][\x80-\xbf]+)+"
    rb"|[^\sa-z0-9\x80-\xff]"
)
LETTERS = b"abcdefghijklmnopqrstuvwxyz"
DIGITS = b"0123456789"
PLAIN_BYTES = bytes((*LETTERS, *LETTERS.upper(), *DIGITS, *b" \t\n\r\v\f"))
"""Bytes of words, numbers and spaces."""
MAX_CACHED_TOKEN_BYTES, MAX_CACHED_TOKENS = 16, 4096
"""The maximum bytes of a token, and the maximum number of tokens, whose facts are cached: half a
megabyte of words."""
_MARK_BYTES = [b"%c" % mark for mark in range(128)]
_SPACED_MARKS = [b" %c " % mark for mark in range(128)]


def tokenize(text: str) -> list[bytes]:
    """Return the words, numbers and marks of a text in order, in lower case."""
    return TOKEN.findall(text.lower().encode("utf-8", "surrogatepass"))


def split_pieces(lower_text: bytes, marks: Iterable[int]) -> list[bytes]:
    """Return the tokens of ASCII text in lower case; a word and a number may share one piece.

    `marks` are the bytes of the text that are neither letters nor digits nor spaces, each once.
    Tokens touch each other only at marks, and between words and numbers, which is rare. So a space
    at each mark is quicker than a search.
    """
    for mark in marks:
        lower_text = lower_text.replace(_MARK_BYTES[mark], _SPACED_MARKS[mark])
    return lower_text.split()


def split_mixed(pieces: list[bytes], mixed_indexes: Iterable[int]) -> list[bytes]:
    """Return the tokens of a text from its pieces, and split those at `mixed_indexes` again."""
    tokens: list[bytes] = []
    start = 0
    for index in mixed_indexes:
        tokens += pieces[start:index]
        tokens += TOKEN.findall(pieces[index])
        start = index + 1
    return tokens + pieces[start:]
