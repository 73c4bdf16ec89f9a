"""The form of a frame: what stands round its text, which is the same in nearly all of a stream.

A frame that has the form of one before says its text and nothing else: nothing in it needs to be
looked for, and it is JSON where that was. The text may be followed by one that nobody counts, with
which OpenAI hides how long each piece is.
"""

import re
from collections.abc import Callable

from gateway.core import jsonio

_MOST = 4096
"""Bytes of a frame of which the form is kept."""
_TEXT = re.compile(rb"[ !#-Z\]-~\x80-\xff]*")
"""What is the same as text and as JSON: it has no quote, no escape, and no bracket of `[DONE]`."""
_PADDED = re.compile(rb'"obfuscation":[ ]?"')
_PROBES = ((b"", b""), (b"a", b""), (b"bcdefgh", b"ij"), (b"", b"k"))


class FrameTemplate:
    """What stands before the text, between it and one that does not count, and behind both."""

    __slots__ = ("_before", "_behind", "_between", "_round")

    def __init__(self, before: bytes, between: bytes, behind: bytes) -> None:
        """`between` is empty where there is one text alone."""
        self._before = before
        self._between = between
        self._behind = behind
        self._round = len(before) + len(behind)

    def says(self, data: bytes) -> int:
        """Bytes of text that a frame says; -1 where it has another form, or says it in escapes."""
        before, between = self._before, self._between
        if (
            len(data) < self._round
            or not data.startswith(before)
            or not data.endswith(self._behind)
        ):
            return -1
        text = data[len(before) : len(data) - len(self._behind)]
        if between:
            text, found, padding = text.partition(between)
            if not found or not _text(padding):
                return -1
        return len(text) if _text(text) else -1

    def write(self, text: bytes, padding: bytes) -> bytes:
        """A frame of this form."""
        return self._before + text + (self._between and self._between + padding) + self._behind


def learn(
    data: bytes,
    hole: re.Pattern[bytes],
    amount: Callable[[bytes], int],
    plain: Callable[[bytes], bool],
) -> FrameTemplate | None:
    """The form of a frame whose text follows `hole`; None where it has none.

    That what stands there is counted, all of it and nothing else, is tried: `amount` of a payload
    tells bytes of content or raises JsonError, and `plain` whether a frame tells nothing more.
    """
    if len(data) > _MOST or not data.endswith(b"}\n\n") or b"data:" not in data:
        return None
    if (place := hole.search(data)) is None:
        return None
    begin = place.end()
    end = data.find(b'"', begin)
    between, behind = b"", data[end:]
    if (padded := _PADDED.search(behind)) is not None:
        between, behind = behind[: padded.end()], behind[padded.end() :]
        behind = behind[behind.find(b'"') :]
    form = FrameTemplate(data[:begin], between, behind)
    tries = [form.write(*probe) for probe in _PROBES]
    try:
        told = [amount(one[one.index(b"data:") + 5 :]) for one in tries]
    except jsonio.JsonError:
        return None
    right = told == [len(text) for text, _ in _PROBES] and all(map(plain, tries))
    return form if right else None


def _text(data: bytes) -> bool:
    """Whether bytes are the same as text and as JSON."""
    if _TEXT.fullmatch(data) is None:
        return False
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
