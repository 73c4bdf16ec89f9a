"""DeepSeek reports hits and misses without token details."""

from gateway.core.usage import Usage
from tests.wire.oddity import Whole

ODDITY = Whole(
    sent=(
        b'{"model":"m-1","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],'
        b'"usage":{"prompt_tokens":100,"completion_tokens":20,"total_tokens":120,"prompt_cache_hit_tokens":64,"prompt_cache_miss_tokens":36}}'
    ),
    usage=Usage(input=36, cache_read=64, output=20),
)
