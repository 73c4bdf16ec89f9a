"""Counting of tokens: a request is contents alone or a whole request, the answer a number.

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
from gateway.dialects.base import RequestBody, ResponseSummary, TranslationFunctions, WrittenBody
from gateway.dialects.gemini import reasoning_state, request, response, schema
from gateway.dialects.gemini.content import (
    CONFIG,
    Object,
    find_spelling,
    get_member,
    get_object,
)
from gateway.dialects.gemini.request_decoder import decode_request
from gateway.dialects.json_values import as_text
from gateway.dialects.parse import parse

METHOD = "countTokens"
_INNER_REQUEST = "generateContentRequest"
_TOKENS_MEMBER = "totalTokens"
_FORM_MEMBERS = ("responseMimeType", "responseJsonSchema")
"""Settings that have tokens."""


def read(raw: bytes, path: str = "") -> RequestBody:
    """Read a request body. Raises ProblemError: invalid_json, or invalid_request with the field."""
    model, method = request.parse_path(path)
    if method not in (METHOD, ""):
        raise ProblemError(request.make_unknown_method_problem(method))

    def prompt(value: Object, members: Members) -> Prompt:
        counted = value
        inner = get_member(value, _INNER_REQUEST)
        if isinstance(inner, dict):
            counted = inner
            members = jsonio.read_members(
                bytes(memoryview(members[find_spelling(value, _INNER_REQUEST)]))
            )
        name = model or request.strip_model_name(
            as_text(counted.get("model") or value.get("model")) or ""
        )
        return request.make_prompt(counted, members, model=name, stream=False)

    return parse(raw, prompt)


def write(body: RequestBody, target: Target) -> WrittenBody:
    """Write the body for one target: only the model changes, and foreign reasoning goes."""
    patch = reasoning_state.remove_foreign_reasoning(body, target)
    if patch.has("model"):
        patch.remove("model")
    inner = get_object(body.value, _INNER_REQUEST)
    if "model" in inner and inner["model"] != f"models/{target.model}":
        patch.set_inner_member(
            find_spelling(body.value, _INNER_REQUEST), "model", f"models/{target.model}"
        )
    return msgspec.structs.replace(
        patch.finish(), url_suffix=request.make_url_suffix(target.model, METHOD)
    )


def summarize(body: bytes) -> ResponseSummary:
    """Read the answer: `totalTokens`. Nothing was used, so that it costs nothing."""
    return count_tokens.summarize(body, _TOKENS_MEMBER, response.summarize)


def write_token_count(tokens: int) -> bytes:
    """Write the answer with a number of tokens."""
    return jsonio.dumps({_TOKENS_MEMBER: tokens})


def _decode_request(body: RequestBody) -> CanonicalRequest:
    inner = get_object(body.value, _INNER_REQUEST)
    return decode_request(msgspec.structs.replace(body, outline=inner) if inner else body)


def _wrap_request(value: Object, target: Target) -> Object:
    settings = value.pop(CONFIG, {})
    form = {name: settings[name] for name in _FORM_MEMBERS if name in settings}
    if form:
        value[CONFIG] = form
    return {_INNER_REQUEST: {"model": f"models/{target.model}", **value}}


def make_translation(translation: TranslationFunctions) -> TranslationFunctions:
    """Return how counts are translated, given how requests are."""
    return count_tokens.make_translation(
        msgspec.structs.replace(
            translation,
            decode_request=_decode_request,
            request_members=schema.COUNT_REQUEST,
        ),
        {"contents", "systemInstruction", "tools", "toolConfig", CONFIG},
        member=_TOKENS_MEMBER,
        write_token_count=write_token_count,
        wrap_request=_wrap_request,
    )
