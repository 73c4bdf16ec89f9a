"""Counting the tokens of a request: contents alone or a whole request, answered with a number.

Source: models.countTokens of Google's API reference; counting is not billed.
"""

import msgspec

from gateway.core import jsonio
from gateway.core.canonical_request import CanonicalRequest
from gateway.core.errors import ProblemError
from gateway.core.jsonio import Members
from gateway.core.prompt import Prompt
from gateway.core.target import Target
from gateway.dialects import count_tokens
from gateway.dialects.base import RequestBody, ResponseSummary, WrittenBody
from gateway.dialects.gemini import config, request
from gateway.dialects.gemini import content as wire
from gateway.dialects.gemini import reasoning_state as seal
from gateway.dialects.gemini import response as answer
from gateway.dialects.gemini.content import Object
from gateway.dialects.gemini.speech import SPEECH as OWN
from gateway.dialects.parse import parse

METHOD = "countTokens"
_INNER = "generateContentRequest"
_TOKENS = "totalTokens"
_FORM = ("responseMimeType", "responseJsonSchema")
"""Settings that have tokens."""


def read(raw: bytes, path: str = "") -> RequestBody:
    """Read a request body. Raises ProblemError: invalid_json, or invalid_request with the field."""
    model, method = request.address(path)
    if method not in (METHOD, ""):
        raise ProblemError(request.unknown(method))

    def prompt(value: Object, members: Members) -> Prompt:
        asked = value
        inner = wire.get(value, _INNER)
        if isinstance(inner, dict):
            asked = inner
            members = jsonio.read_members(bytes(memoryview(members[wire.spelled(value, _INNER)])))
        name = model or request.bare(wire.text(asked.get("model") or value.get("model")) or "")
        return request.prompt(asked, members, model=name, stream=False)

    return parse(raw, prompt)


def write(body: RequestBody, target: Target) -> WrittenBody:
    """The body for one target: another model is all that is changed."""
    edit = seal.edit(body, target)
    if edit.has("model"):
        edit.remove("model")
    inner = wire.group(body.value, _INNER)
    if "model" in inner and inner["model"] != f"models/{target.model}":
        edit.set_inner_member(wire.spelled(body.value, _INNER), "model", f"models/{target.model}")
    return msgspec.structs.replace(edit.finish(), url_suffix=request.tail(target.model, METHOD))


def glance(body: bytes) -> ResponseSummary:
    """Read the answer: `totalTokens`. Nothing was used, so that it costs nothing."""
    return count_tokens.summarize(body, _TOKENS, answer.glance)


def counted(tokens: int) -> bytes:
    """The answer that tells a number."""
    return jsonio.dumps({_TOKENS: tokens})


def _decode(body: RequestBody) -> CanonicalRequest:
    inner = wire.group(body.value, _INNER)
    return OWN.decode_request(msgspec.structs.replace(body, parsed=inner) if inner else body)


def _wrap(value: Object, target: Target) -> Object:
    settings = value.pop(config.CONFIG, {})
    form = {name: settings[name] for name in _FORM if name in settings}
    if form:
        value[config.CONFIG] = form
    return {_INNER: {"model": f"models/{target.model}", **value}}


SPEECH = count_tokens.make_translation(
    msgspec.structs.replace(OWN, decode_request=_decode),
    {"contents", "systemInstruction", "tools", "toolConfig", config.CONFIG},
    member=_TOKENS,
    write_token_count=counted,
    wrap_request=_wrap,
)
