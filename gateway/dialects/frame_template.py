"""The form of a frame: what stands round its text, which is the same in nearly all of a stream.

A frame that has the form of one before says its text and nothing else: nothing in it needs to be
looked for, and it is JSON where that was. The text may be followed by one that nobody counts, with
which OpenAI hides how long each piece is.
"""

import re
from collections.abc import Callable

from gateway.core import jsonio

_MAX_FRAME_BYTES = 4096
"""Bytes of a frame of which the form is kept."""
_PLAIN_TEXT_PATTERN = re.compile(rb"[ !#-Z\]-~\x80-\xff]*")
"""What is the same as text and as JSON: it has no quote, no escape, and no bracket of `[DONE]`."""
_PADDING_START_PATTERN = re.compile(rb'"obfuscation":[ ]?"')
_PROBE_TEXTS = ((b"", b""), (b"a", b""), (b"bcdefgh", b"ij"), (b"", b"k"))


class FrameTemplate:
    """What stands before the text, between it and one that does not count, and behind both."""

    __slots__ = ("_fixed_bytes", "_prefix", "_separator", "_suffix")

    def __init__(self, prefix: bytes, separator: bytes, suffix: bytes) -> None:
        """`separator` is empty where there is one text alone."""
        self._prefix = prefix
        self._separator = separator
        self._suffix = suffix
        self._fixed_bytes = len(prefix) + len(suffix)

    def count_text_bytes(self, data: bytes) -> int:
        """Bytes of text that a frame says; -1 where it has another form, or says it in escapes."""
        prefix, separator = self._prefix, self._separator
        if (
            len(data) < self._fixed_bytes
            or not data.startswith(prefix)
            or not data.endswith(self._suffix)
        ):
            return -1
        text = data[len(prefix) : len(data) - len(self._suffix)]
        if separator:
            text, match, padding = text.partition(separator)
            if not match or not _is_plain_text(padding):
                return -1
        return len(text) if _is_plain_text(text) else -1

    def write(self, text: bytes, padding: bytes) -> bytes:
        """A frame of this form."""
        return self._prefix + text + (self._separator and self._separator + padding) + self._suffix


def learn_template(
    data: bytes,
    text_start_pattern: re.Pattern[bytes],
    count_content_bytes: Callable[[bytes], int],
    is_plain: Callable[[bytes], bool],
) -> FrameTemplate | None:
    """The form of a frame whose text follows `text_start_pattern`; None where it has none.

    That what stands there is counted, all of it and nothing else, is tried: `count_content_bytes`
    of a payload tells bytes of content or raises JsonError, and `is_plain` whether a frame tells
    nothing more.
    """
    if len(data) > _MAX_FRAME_BYTES or not data.endswith(b"}\n\n") or b"data:" not in data:
        return None
    if (text_start := text_start_pattern.search(data)) is None:
        return None
    begin_offset = text_start.end()
    end_offset = data.find(b'"', begin_offset)
    separator, suffix = b"", data[end_offset:]
    if (padding_start := _PADDING_START_PATTERN.search(suffix)) is not None:
        separator, suffix = suffix[: padding_start.end()], suffix[padding_start.end() :]
        suffix = suffix[suffix.find(b'"') :]
    template = FrameTemplate(data[:begin_offset], separator, suffix)
    probe_frames = [template.write(*probe) for probe in _PROBE_TEXTS]
    try:
        counts = [count_content_bytes(frame[frame.index(b"data:") + 5 :]) for frame in probe_frames]
    except jsonio.JsonError:
        return None
    is_reliable = counts == [len(text) for text, _ in _PROBE_TEXTS] and all(
        map(is_plain, probe_frames)
    )
    return template if is_reliable else None


def _is_plain_text(data: bytes) -> bool:
    """Whether bytes are the same as text and as JSON."""
    if _PLAIN_TEXT_PATTERN.fullmatch(data) is None:
        return False
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
