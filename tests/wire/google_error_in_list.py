"""Google's OpenAI endpoint wraps its error in a list."""

from tests.wire.oddity import Refusal

ODDITY = Refusal(
    status=400,
    sent=b'[{\n  "error": {\n    "code": 400,\n    "message": "Unknown name",\n    "status": "INVALID_ARGUMENT"\n  }\n}\n]',
    problem="upstream_rejected",
    shown=400,
    own=True,
)
