"""Blank lines before the JSON kept the connection open."""

from tests.wire.oddity import Whole

ODDITY = Whole(
    sent=b'\n\n   \n{"model":"m-1","choices":[{"index":0,"message":{"content":"hi"},"finish_reason":"stop"}]}\n',
)
