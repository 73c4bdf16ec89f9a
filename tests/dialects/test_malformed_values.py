"""Any value may replace any other in requests and answers: the gateway reads, refuses or drops it.

These tests run piece by piece in this process; tests/server/test_hostile.py asks a whole gateway.
"""

import random
from contextlib import suppress

import pytest

from gateway.core import jsonio
from gateway.core.errors import ProblemError
from gateway.dialects import DIALECTS, OPERATIONS
from tests.hostile import odd
from tests.hostile.answers import STREAMS, WHOLE, frame
from tests.hostile.fields import FIELDS
from tests.server.gate import CHAT, GENERATE, MESSAGES, RESPONSES

PATHS = {
    "openai-chat": CHAT,
    "anthropic-messages": MESSAGES,
    "openai-responses": RESPONSES,
    "gemini": GENERATE,
}
MODELS = {
    "openai-chat": "able-1",
    "anthropic-messages": "claude-haiku-9",
    "openai-responses": "reply-9",
    "gemini": "gem-9",
}


@pytest.mark.parametrize("name", DIALECTS)
def test_malformed_requests_are_read_or_refused(name: str) -> None:
    chance = random.Random(name)
    base = FIELDS[PATHS[name]]("hello")
    for dialect in [operation for operation in OPERATIONS.values() if operation.name == name]:
        for _ in range(150):
            body = jsonio.dumps(odd.changed(base, chance))
            with suppress(ProblemError):
                if dialect.read_with_path is not None:
                    dialect.read_with_path(body, "models/gem-9:generateContent")
                else:
                    dialect.read(body)


@pytest.mark.parametrize("name", DIALECTS)
def test_malformed_streams_and_answers_never_break_the_inspector(name: str) -> None:
    """Native frames go on unchanged; the inspector looks for usage, finish and errors in them."""
    dialect, chance = DIALECTS[name], random.Random(name)
    base = FIELDS[PATHS[name]]("hello")
    body = jsonio.dumps({"max_tokens": 9, "stream": True, **base})
    read_with_path = dialect.read_with_path
    request = (
        dialect.read(body)
        if read_with_path is None
        else read_with_path(body, "models/gem-9:streamGenerateContent")
    )
    for _ in range(150):
        inspector = dialect.inspect_stream(request)
        for value in STREAMS[MODELS[name]]:
            data = frame(odd.changed(value, chance) if chance.random() < 0.3 else value)
            inspector.feed(data)
        inspector.end()
        body = jsonio.dumps(odd.changed(WHOLE[MODELS[name]], chance))
        with suppress(ProblemError):
            dialect.summarize(body)
