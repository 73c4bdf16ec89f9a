"""A host sends blank lines before the JSON to keep the connection open."""

from tests.wire.oddity import Whole

ODDITY = Whole(
    sent=b'\n\n   \n{"model":"m-1","choices":[{"index":0,"message":{"content":"hi"},"finish_reason":"stop"}]}\n',
)
