"""Commands as a server reads them: the number of words, then each word after its length.

A command travels as these bytes alone: a client sends the same bytes again after a redirection.
"""

from collections.abc import Sequence


def encode_command(*words: bytes) -> bytes:
    """Return a command as bytes for a server."""
    return begin_command(len(words), words)


def begin_command(count: int, words: Sequence[bytes]) -> bytes:
    """Return the first words of a command of `count` words; `finish_command` adds the last one."""
    encoded = [b"$%d\r\n%b\r\n" % (len(word), word) for word in words]
    return b"*%d\r\n%b" % (count, b"".join(encoded))


def finish_command(beginning: bytes, word: bytes) -> bytes:
    """Return a command: what `begin_command` returned, and the last word."""
    return b"%b$%d\r\n%b\r\n" % (beginning, len(word), word)
