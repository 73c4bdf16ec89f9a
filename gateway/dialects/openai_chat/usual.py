"""Whole answers as OpenAI writes them, read straight into what accounting needs of them.

Most hosts write the same members. An answer that has no other is read by its types, which takes a
third of what it takes to read all of it and to look at each value. All others are nothing here, and
so are those whose usage does not add up: who reads any answer reads them.
"""

from typing import Annotated

import msgspec

from gateway.core import jsonio
from gateway.core.usage import MAX_TOKENS, Usage, parse_service_tier
from gateway.dialects.base import ResponseSummary
from gateway.dialects.openai_chat.ending import FAILED

_STRANGE = 8
"""Answers in a row that were others, after which only some are tried: hosts keep to their ways."""
_SOME = 64
"""One of so many."""


type _Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_TOKENS)]
"""Of larger numbers, too, it is not known here whether any reader takes them."""


class _Struct(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """Of nothing that is not named here is known whether it is JSON."""


class _Inside(_Struct):
    cached_tokens: _Count | None = None
    audio_tokens: _Count | None = None


class _Beside(_Struct):
    reasoning_tokens: _Count | None = None
    audio_tokens: _Count | None = None
    accepted_prediction_tokens: _Count | None = None
    rejected_prediction_tokens: _Count | None = None


class _Usage(_Struct):
    prompt_tokens: _Count
    completion_tokens: _Count
    total_tokens: _Count
    prompt_tokens_details: _Inside | None = None
    completion_tokens_details: _Beside | None = None


class _Function(_Struct):
    name: str
    arguments: str


class _Call(_Struct):
    id: str
    function: _Function
    type: str = ""
    index: _Count = 0


class _Message(_Struct):
    role: str
    content: str | None = None
    refusal: str | None = None
    annotations: tuple[()] | None = None
    tool_calls: list[_Call] | None = None
    reasoning_content: str | None = None
    audio: None = None
    function_call: None = None


class _Choice(_Struct):
    message: _Message
    finish_reason: str
    index: _Count = 0
    logprobs: None = None


class _Answer(_Struct):
    choices: Annotated[list[_Choice], msgspec.Meta(min_length=1)]
    usage: _Usage
    id: str | None = None
    object: str | None = None
    created: _Count | None = None
    model: str | None = None
    service_tier: str | None = None
    system_fingerprint: str | None = None


_READ = jsonio.make_reader(_Answer)


class Usual:
    """Reads them; where a host writes others it is not asked each time."""

    __slots__ = ("_strange",)

    def __init__(self) -> None:
        self._strange = 0

    def glance(self, body: bytes) -> ResponseSummary | None:
        """What accounting needs; None where any reader is to look."""
        if self._strange >= _STRANGE:
            self._strange += 1
            if self._strange < _STRANGE + _SOME:
                return None
            self._strange = _STRANGE
        try:
            answer: _Answer = _READ(body)
        except jsonio.JsonError:
            self._strange += 1
            return None
        self._strange = 0
        choices = answer.choices
        if not all(it.finish_reason and it.finish_reason.lower() not in FAILED for it in choices):
            return None
        told = answer.usage
        prompt, completion = told.prompt_tokens, told.completion_tokens
        inside, beside = told.prompt_tokens_details, told.completion_tokens_details
        cached = None if inside is None else inside.cached_tokens
        reasoning = None if beside is None else beside.reasoning_tokens
        if (
            told.total_tokens != prompt + completion
            or (cached is not None and cached > prompt)
            or (reasoning is not None and reasoning > completion)
            or (inside is not None and inside.audio_tokens)
            or (beside is not None and beside.audio_tokens)
        ):
            return None
        usage = Usage(
            input=prompt - (cached or 0),
            cache_read=cached,
            output=completion - (reasoning or 0),
            reasoning=reasoning,
            service=None
            if answer.service_tier is None
            else parse_service_tier(answer.service_tier),
        )
        return ResponseSummary(
            usage=usage,
            served_model=answer.model,
            response_id=answer.id or None,
            finish=choices[0].finish_reason,
            complete=True,
        )
