"""Translation of calls that count tokens: the request to count, and the number in the answer.

The request has no settings, because they have no tokens. The number is an Opaque event. So the
gateway translates these calls with the same code as all others.
"""

from collections.abc import Callable, Collection, Iterable

import msgspec

from gateway.core import jsonio
from gateway.core.canonical_request import CanonicalRequest
from gateway.core.errors import Problem
from gateway.core.events import End, Event, Failed, Opaque, UsageUpdate
from gateway.core.jsonio import Json, JsonError
from gateway.core.target import Target
from gateway.core.usage import Usage, parse_count
from gateway.dialects.base import (
    EncodedRequest,
    RequestBody,
    ResponseContext,
    ResponseSummary,
    TranslationFunctions,
)

OPERATION = "count_tokens"
_TOKENS_KIND = "tokens"
_NO_USAGE = Usage(input=0, output=0)
"""Usage of zero tokens: counting costs nothing."""


def make_translation(
    dialect_functions: TranslationFunctions,
    members: Collection[str],
    *,
    member: str,
    write_token_count: Callable[[int], bytes],
    wrap_request: Callable[[dict[str, Json], Target], dict[str, Json]] = lambda value, _: value,
) -> TranslationFunctions:
    """Return the functions that translate token counts of a dialect.

    `dialect_functions` translates its requests, of which the `members` have tokens; `member` of an
    answer is the number, which `write_token_count` writes. `wrap_request` puts a request into the
    form that is counted.
    """

    def encode_request(request: CanonicalRequest, target: Target) -> EncodedRequest:
        encoded = dialect_functions.encode_request(request, target)
        value = {name: encoded.value[name] for name in encoded.value if name in members}
        return msgspec.structs.replace(encoded, value=wrap_request(value, target))

    def decode_response(body: bytes) -> list[Event]:
        tokens = read_token_count(body, member)
        if tokens is None:
            return [Failed(_MISSING_COUNT)]
        return [Opaque(name=_TOKENS_KIND, source=tokens), UsageUpdate(_NO_USAGE), End()]

    def encode_response(events: Iterable[Event], _: ResponseContext) -> bytes:
        return write_token_count(
            next(event.source for event in events if isinstance(event, Opaque))
        )

    return msgspec.structs.replace(
        dialect_functions,
        decode_request=_without_settings(dialect_functions.decode_request),
        encode_request=encode_request,
        decode_response=decode_response,
        encode_response=encode_response,
    )


def _without_settings(
    decode_request: Callable[[RequestBody], CanonicalRequest],
) -> Callable[[RequestBody], CanonicalRequest]:
    def decode_plain(body: RequestBody) -> CanonicalRequest:
        request = decode_request(body)
        return CanonicalRequest(
            turns=request.turns,
            tools=request.tools,
            tool_choice=request.tool_choice,
            form=request.form,
            names=request.names,
            extra_members=request.extra_members,
            lost_members=request.lost_members,
            source=request.source,
        )

    return decode_plain


def summarize(
    body: bytes, member: str, read_problem: Callable[[bytes], ResponseSummary]
) -> ResponseSummary:
    """Read an answer, of which a `member` is the number; `read_problem` reads one without."""
    if read_token_count(body, member) is not None:
        return ResponseSummary(usage=_NO_USAGE, complete=True)
    return ResponseSummary(problem=read_problem(body).problem or _MISSING_COUNT)


def read_token_count(body: bytes, member: str) -> int | None:
    """The number that an answer tells; None where it tells none."""
    try:
        value = jsonio.loads(body)
    except JsonError:
        return None
    return parse_count(value.get(member)) if isinstance(value, dict) else None


_MISSING_COUNT = Problem(kind="upstream_error", message="The provider sent no count of tokens.")
