"""A host reports only in its message that the prompt is too long.

A target with a larger window may serve it.
"""

from tests.wire.oddity import Refusal

ODDITY = Refusal(
    status=400,
    sent=b'{"error":{"message":"This model\'s maximum context length is 8192 tokens. However, you requested 9000.","type":"BadRequestError","code":400}}',
    problem="upstream_context",
    shown=400,
    own=True,
)
