"""Grok on Azure reports more cached tokens than the prompt had."""

from gateway.core.usage import Usage
from tests.wire.oddity import Whole

ODDITY = Whole(
    sent=b'{"model":"m-1","choices":[{"index":0,"message":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":20,"completion_tokens":4,"total_tokens":24,"prompt_tokens_details":{"cached_tokens":31}}}',
    usage=Usage(input=0, cache_read=20, output=4),
)
