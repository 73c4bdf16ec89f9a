"""Counting the tokens of a request, for clients of other dialects: a Responses request, a number.

Source: POST /v1/responses/input_tokens of OpenAI's API reference; counting is not billed. Few of
the hosts that follow OpenAI have it.
"""

from gateway.core import jsonio
from gateway.core.target import Target
from gateway.dialects import counts
from gateway.dialects.base import Body, Glance, Written
from gateway.dialects.openai_responses import answer
from gateway.dialects.openai_responses.speech import SPEECH as OWN

_TOKENS = "input_tokens"


def write(body: Body, _: Target) -> Written:
    """The body as it is: it was made for its target."""
    return Written(body.raw)


def glance(body: bytes) -> Glance:
    """Read the answer: `input_tokens`. Nothing was used, so that it costs nothing."""
    return counts.glance(body, _TOKENS, answer.glance)


def counted(tokens: int) -> bytes:
    """The answer that tells a number."""
    return jsonio.dumps({"object": "response.input_tokens", _TOKENS: tokens})


SPEECH = counts.speech(
    OWN,
    {"input", "instructions", "tools", "tool_choice", "text"},
    member=_TOKENS,
    counted=counted,
)
