"""Commands as a server reads them: the number of words, then each word after its length.

A command travels as these bytes alone: a client sends the same bytes again after a redirection.
"""

from collections.abc import Callable
from typing import cast

from hiredis import pack_command

# The stubs allow only tuples of one item.
_pack = cast("Callable[[tuple[bytes, ...]], bytes]", pack_command)
_EMPTY_WORD = b"$0\r\n\r\n"


def encode_command(*words: bytes) -> bytes:
    """Return a command as bytes for a server."""
    return _pack(words)


def begin_command(*words: bytes) -> bytes:
    """Return the first words of a command that has one more; `finish_command` adds it.

    Commands that differ only in their last word share them.
    """
    return _pack((*words, b"")).removesuffix(_EMPTY_WORD)


def finish_command(beginning: bytes, word: bytes) -> bytes:
    """Return a command: what `begin_command` returned, and the last word."""
    return b"%b$%d\r\n%b\r\n" % (beginning, len(word), word)
