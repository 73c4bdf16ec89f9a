"""A stream that has only keep-alive comments is no answer."""

from tests.wire.oddity import Stream

ODDITY = Stream(
    sent=(b": ping\n\n: ping\n\n"),
    held=(b": ping\n\n: ping\n\n"),
    shown=b"",
    shown_with_usage=b"",
    finish=None,
    served=None,
    complete=False,
)
