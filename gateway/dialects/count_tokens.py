"""Counts of tokens in no dialect: what is counted of a request, and the number that is the answer.

A request is one whose settings are left out, for they have no tokens; the number is an Opaque
event. So calls that count are translated by the same `abroad` as all others.
"""

from collections.abc import Callable, Collection, Iterable

import msgspec

from gateway.core import jsonio
from gateway.core.canonical_request import CanonicalRequest
from gateway.core.errors import Problem
from gateway.core.events import End, Event, Failed, Opaque, UsageUpdate
from gateway.core.jsonio import Json, JsonError
from gateway.core.target import Target
from gateway.core.usage import Usage, count
from gateway.dialects.base import (
    EncodedRequest,
    RequestBody,
    ResponseContext,
    ResponseSummary,
    TranslationFunctions,
)

OPERATION = "count_tokens"
_TOKENS = "tokens"
_FREE = Usage(input=0, output=0)
"""Nothing was used, so that it costs nothing."""


def speech(
    own: TranslationFunctions,
    members: Collection[str],
    *,
    member: str,
    counted: Callable[[int], bytes],
    wrap: Callable[[dict[str, Json], Target], dict[str, Json]] = lambda value, _: value,
) -> TranslationFunctions:
    """How counts of a dialect are translated to and from others.

    `own` translates its requests, of which the `members` have tokens; `member` of an answer is the
    number, which `counted` writes. `wrap` puts a request into the form that is counted.
    """

    def encode(request: CanonicalRequest, target: Target) -> EncodedRequest:
        said = own.encode(request, target)
        value = {name: said.value[name] for name in said.value if name in members}
        return msgspec.structs.replace(said, value=wrap(value, target))

    def events(body: bytes) -> list[Event]:
        tokens = number(body, member)
        if tokens is None:
            return [Failed(_MISSING)]
        return [Opaque(kind=_TOKENS, source=tokens), UsageUpdate(_FREE), End()]

    def tell(events: Iterable[Event], _: ResponseContext) -> bytes:
        return counted(next(one.source for one in events if isinstance(one, Opaque)))

    return msgspec.structs.replace(
        own, decode=_plain(own.decode), encode=encode, events=events, tell=tell
    )


def _plain(
    decode: Callable[[RequestBody], CanonicalRequest],
) -> Callable[[RequestBody], CanonicalRequest]:
    def plain(body: RequestBody) -> CanonicalRequest:
        asked = decode(body)
        return CanonicalRequest(
            turns=asked.turns,
            tools=asked.tools,
            tool_choice=asked.tool_choice,
            form=asked.form,
            names=asked.names,
            others=asked.others,
            source=asked.source,
        )

    return plain


def glance(
    body: bytes, member: str, problem: Callable[[bytes], ResponseSummary]
) -> ResponseSummary:
    """Read an answer, of which a `member` is the number; `problem` reads one without."""
    if number(body, member) is not None:
        return ResponseSummary(usage=_FREE, complete=True)
    return ResponseSummary(problem=problem(body).problem or _MISSING)


def number(body: bytes, member: str) -> int | None:
    """The number that an answer tells; None where it tells none."""
    try:
        value = jsonio.loads(body)
    except JsonError:
        return None
    return count(value.get(member)) if isinstance(value, dict) else None


_MISSING = Problem(kind="upstream_error", message="The provider sent no count of tokens.")
