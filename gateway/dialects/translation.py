"""A client served by a target that speaks another dialect: one voice for one attempt.

A voice has what a Dialect has for an attempt (`write`, `glance`, `watch`, `read_problem`), and says
all of it to the client in the client's own dialect.
"""

from collections.abc import Collection, Iterable, Mapping

import msgspec

from gateway.core import jsonio
from gateway.core.canonical_request import CanonicalRequest, Media
from gateway.core.errors import Problem
from gateway.core.events import (
    CONTENT,
    Declined,
    End,
    Event,
    Failed,
    Finish,
    Opaque,
    ReasoningDelta,
    Start,
    TextDelta,
    ToolDelta,
    ToolEnd,
    ToolStart,
    UsageUpdate,
)  # fmt: skip
from gateway.core.loss import Loss
from gateway.core.prompt import Prompt
from gateway.core.target import Provider, Target
from gateway.core.usage import Usage
from gateway.dialects import (
    compatibility,
    content_length,
    count_tokens,
    embeddings,
    media_urls,
    tool_ids,
)
from gateway.dialects.base import (
    UNWRITTEN,
    Decoder,
    Dialect,
    EncodedRequest,
    Encoder,
    RequestBody,
    ResponseContext,
    ResponseSummary,
    TranslationFunctions,
    WrittenBody,
)
from gateway.dialects.conversation_start import ConversationStart
from gateway.dialects.tool_reasoning import EventListener


def sayable(client: Dialect, door: Dialect) -> bool:
    """Whether requests of one dialect can be said in another at all."""
    return (
        client.speech is not None
        and door.speech is not None
        and client.operation == door.operation
        and door.operation in ("generate", count_tokens.OPERATION, embeddings.OPERATION)
    )


class TranslatableRequest:
    """A client's request as targets of other dialects would be asked it; made when first needed."""

    __slots__ = ("_body", "_client", "_fetches", "_home", "_request")

    def __init__(
        self, client: Dialect, body: RequestBody, fetches: frozenset[str] = frozenset()
    ) -> None:
        """`fetches`: kinds of media that the gateway fetches for targets that open no URL."""
        self._client = client
        self._body = body
        self._fetches = fetches
        self._request: CanonicalRequest | None = None
        self._home: tuple[RequestBody, Target, WrittenBody | None] | None = None

    @property
    def request(self) -> CanonicalRequest:
        """The request in no dialect. Raises ProblemError where it cannot be read as one."""
        if self._request is None:
            self._request = speech(self._client).decode(self._body)
        return self._request

    def begin(self, target: Target) -> None:
        """Write already what a target is sent that is asked in the client's own dialect.

        Not where somebody has asked for it, and has written it himself.
        """
        if self._home is None:
            self._home = self._body, target, self._client.write(self._body, target)

    def begun(self, body: RequestBody, target: Target) -> WrittenBody | None:
        """What was written so of a body for a target; None where it is yet to be written."""
        found = self._home
        if found is None:
            self._home = body, target, None
        elif found[0] is body and found[1] is target:
            return found[2]
        return None

    def speaks(self, door: Dialect) -> bool:
        """Whether it can be said in another dialect at all."""
        return sayable(self._client, door)

    def prompt(self, door: Dialect, target: Target) -> Prompt | str:
        """What a target would be asked, as routing sees it; or why it cannot be asked."""
        request, why = self._standing(door, target)
        if why:
            return why
        _, refusals = compatibility.weigh(request, door.name)
        return refusals[0] if refusals else _inner(request, door, target)[1].prompt

    def losses(self, door: Dialect, target: Target) -> tuple[Loss, ...]:
        """What the request would lose."""
        return write(self._standing(door, target)[0], door, target).losses

    @property
    def opening(self) -> ConversationStart:
        """How the conversation begins."""
        return self._client.opening(self._body)

    def closed(self, target: Target) -> str:
        """Why a target at home cannot be given the media of the request; empty where it can."""
        if target.provider.media != "data" or self._client.speech is None:
            return ""
        return self._standing(self._client, target)[1]

    def wanted(self, door: str, provider: Provider) -> dict[str, Media]:
        """The media, by URL, that are to be fetched before a provider is asked."""
        as_it_is = door == self._client.name and provider.media != "data"
        if as_it_is or not self._fetches:
            return {}
        return media_urls.wanted(self.request, door, provider)

    def filled(self, fetched: Mapping[str, media_urls.FetchedMedia]) -> "TranslatableRequest":
        """The same with what was fetched in place of its URL."""
        asked = TranslatableRequest(self._client, self._body, self._fetches)
        asked._request = media_urls.filled(self.request, fetched)
        return asked

    def _standing(self, door: Dialect, target: Target) -> tuple[CanonicalRequest, str]:
        return media_urls.standing(self.request, door.name, target.provider, self._fetches)


class Translation:
    """The voice of one call with one target."""

    def __init__(
        self,
        client: Dialect,
        door: Dialect,
        request: CanonicalRequest,
        telling: ResponseContext,
        ear: EventListener | None = None,
        *,
        finish_optional: bool = False,
    ) -> None:
        """`ear` hears the events of the answer.

        `finish_optional`: answers of the provider may end without a reason why.
        """
        self.door = door
        self._ear = ear
        self._finish_optional = finish_optional
        self._ours, self._theirs = speech(client), speech(door)
        self._request = request
        self._telling = msgspec.structs.replace(
            telling,
            asked=self._request,
            stream_usage=self._request.stream_usage,
            custom=frozenset(tool.name for tool in self._request.tools if tool.kind == "custom"),
        )
        self._named = {
            tool_ids.plain(tool.name, "tool_"): tool.name
            for tool in self._request.tools
            if tool_ids.plain(tool.name, "tool_") != tool.name
        }
        one = compatibility.FIELDS["parallel_tools_off"][door.name].way == "mapped"
        self._single = request.parallel_tools is False and not one

    def write(self, _: RequestBody, target: Target) -> WrittenBody:
        """The body for the target, and every loss by the client's own names."""
        return write(self._request, self.door, target)

    def watch(self, _: RequestBody, _written: WrittenBody = UNWRITTEN) -> "TranslatedStream":
        """Watch the stream of the answer."""
        decoder, encoder = self._theirs.decoder(), self._ours.encoder(self._telling)
        return TranslatedStream(
            decoder,
            encoder,
            self._named,
            self._ear,
            single=self._single,
            finish_optional=self._finish_optional,
        )

    def glance(self, data: bytes) -> ResponseSummary:
        """A whole answer, and in `body` what the client gets of it."""
        seen = _Seen()
        every = self._theirs.events(data)
        events = [
            _renamed(event, self._named)
            for event in every
            if not (self._single and _further(event))
        ]
        if self._finish_optional:
            events = _finished(events)
        for event in events:
            seen.take(event)
            if self._ear is not None:
                self._ear.hear(event)
        body = None if seen.problem is not None else self._ours.tell(events, self._telling)
        return ResponseSummary(
            usage=seen.usage,
            served=seen.served,
            response_id=seen.response_id,
            finish=seen.finish,
            heard=sum(map(content_length.event, every)),
            complete=seen.problem is None and not any(map(_cut, events)),
            problem=seen.problem,
            body=body,
        )

    def read_problem(self, status: int, body: bytes, retry_after: float | None) -> Problem:
        """A provider's error: its words, not its shape."""
        return _plain(self.door.read_problem(status, body, retry_after))


class TranslatedStream:
    """A stream on its way to a client of another dialect; see Watch."""

    __slots__ = (
        "_called", "_cut", "_decoder", "_ear", "_encoder", "_ended", "_finish_optional", "_held",
        "_named", "_seen", "_single", "committed", "heard",
    )  # fmt: skip

    def __init__(
        self,
        decoder: Decoder,
        encoder: Encoder,
        named: Mapping[str, str] = {},
        ear: EventListener | None = None,
        *,
        single: bool = False,
        finish_optional: bool = False,
    ) -> None:
        """`named` holds the client's names of tools that had to be called otherwise.

        `single`: the client takes one use of a tool at a time, and gets the first of several.
        `finish_optional`: the answer may end without a reason why.
        """
        self._decoder, self._encoder, self._named, self._ear = decoder, encoder, named, ear
        self._single, self._finish_optional = single, finish_optional
        self._cut = False
        """A choice has ended without a reason."""
        self._called: set[int] = set()
        """Choices that use a tool."""
        self._seen = _Seen()
        self._held: list[bytes] = []
        self._ended = False
        self.committed = False
        self.heard = 0

    @property
    def usage(self) -> Usage | None:
        """As Watch has it."""
        return self._seen.usage

    @property
    def served(self) -> str | None:
        """As Watch has it."""
        return self._seen.served

    @property
    def response_id(self) -> str | None:
        """As Watch has it."""
        return self._seen.response_id

    @property
    def finish(self) -> str | None:
        """As Watch has it."""
        return self._seen.finish

    @property
    def problem(self) -> Problem | None:
        """As Watch has it."""
        return self._seen.problem

    @property
    def complete(self) -> bool:
        """True if the provider ended the answer with a reason, as its dialect does."""
        return self._ended and self.problem is None

    def feed(self, data: bytes) -> bytes:
        """Take what was read from the provider; return what may go on to the client now."""
        return self._pass(self._decoder.feed(data))

    def end(self) -> bytes:
        """Take the end of the stream; return what was still held and may go on."""
        return self._pass(self._decoder.end())

    def _pass(self, events: Iterable[Event]) -> bytes:
        out = self._held
        for event in events:
            kind = type(event)
            if kind in _SAID:
                self.heard += content_length.event(event)
            if self._single and _further(event):
                continue
            if kind in _NOTED:
                noted = self._note(event)
                if noted is None:
                    continue
                event = noted  # noqa: PLW2901 - the same, or with a reason
                if kind is Failed:
                    break
            elif self._ear is not None:
                self._ear.hear(event)
            if kind is ToolStart:
                self._called.add(event.choice)  # type: ignore[union-attr]  # it has one
                event = _renamed(event, self._named)  # noqa: PLW2901 - the same event
            out.append(self._encoder.write(event))
            if not self.committed and kind in CONTENT:
                self.committed = True
        if not self.committed:
            return b""
        said = b"".join(out)
        out.clear()
        return said

    def _note(self, event: Event) -> Event | None:
        """Take an event that is no content; gives what the client gets of it, None if nothing.

        An end without a reason is none, unless the provider may leave the reason out, and the
        answer has content.
        """
        if _cut(event):
            if not (self._finish_optional and self.committed):
                self._cut = True
                return None
            event = _finish(event, self._called)
        if isinstance(event, End):
            if self._cut:
                return None
            self._ended = True
        self._seen.take(event)
        return event


def _cut(event: Event) -> bool:
    """True if a choice ends without a reason."""
    return isinstance(event, Finish) and event.reason == "cut"


def _finish(event: Event, called: Collection[int]) -> Event:
    """Give the end of a choice the reason that its provider leaves out."""
    choice = event.choice if isinstance(event, Finish) else 0
    return Finish("tools" if choice in called else "stop", choice=choice)


def _finished(events: list[Event]) -> list[Event]:
    """Give each end of a choice a reason, at a provider that leaves them out."""
    called = {event.choice for event in events if isinstance(event, ToolStart)}
    return [_finish(event, called) if _cut(event) else event for event in events]


def _further(event: Event) -> bool:
    """Whether it is of a use of a tool beside the first."""
    return isinstance(event, ToolStart | ToolDelta | ToolEnd) and event.index > 0


_SAID = frozenset({TextDelta, Declined, ReasoningDelta, ToolStart, ToolDelta, Opaque})
_NOTED = frozenset({Start, UsageUpdate, Finish, Failed, End})


class _Seen:
    """What accounting needs of the events of an answer."""

    __slots__ = ("finish", "problem", "response_id", "served", "usage")

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.served: str | None = None
        self.response_id: str | None = None
        self.finish: str | None = None
        self.problem: Problem | None = None

    def take(self, event: Event) -> None:
        match event:
            case Start():
                self.served = event.model or self.served
                self.response_id = event.id or self.response_id
                self.usage = event.usage or self.usage
            case UsageUpdate():
                self.usage = event.usage
            case Finish():
                self.finish = event.word or event.reason
            case Failed():
                self.problem = _plain(event.problem)
            case _:
                return


def _renamed(event: Event, named: Mapping[str, str]) -> Event:
    """The use of a tool by the client's own name of it."""
    if isinstance(event, ToolStart) and event.name in named:
        return msgspec.structs.replace(event, name=named[event.name])
    return event


def _plain(problem: Problem) -> Problem:
    """A provider's error in its own words and in no shape: that would be another dialect's."""
    if problem.body is None:
        return problem
    return msgspec.structs.replace(
        problem, body=None, message=_words(problem.body) or problem.message
    )


def speech(dialect: Dialect) -> TranslationFunctions:
    """The speech of a dialect. Raises LookupError where it cannot be translated."""
    if dialect.speech is None:
        raise LookupError(f"{dialect.name} is not translated")
    return dialect.speech


def write(request: CanonicalRequest, door: Dialect, target: Target) -> WrittenBody:
    """A request for a target that speaks `door`."""
    losses, _ = compatibility.weigh(request, door.name)
    said, inner = _inner(request, door, target)
    written = door.write(inner, target)
    own = [Loss(_name(said, loss.field), loss.action, loss.why) for loss in written.losses]
    again = {(loss.field, loss.action) for loss in own}  # the model's own limit is the nearer one
    first = [loss for loss in said.losses if (loss.field, loss.action) not in again]
    every = dict.fromkeys([*losses, *first, *own])
    return msgspec.structs.replace(written, losses=tuple(every))


def _inner(
    request: CanonicalRequest, door: Dialect, target: Target
) -> tuple[EncodedRequest, RequestBody]:
    said = speech(door).encode(request, target)
    return said, door.read(jsonio.dumps({"model": target.model, **said.value}))


def _name(said: EncodedRequest, field: str) -> str:
    """The client's own name of a member that another dialect's `write` speaks of."""
    part = field
    while part:
        if part in said.names:
            return said.names[part]
        part = part.rpartition(".")[0]
    return field


def _words(body: bytes) -> str | None:
    """The message of a provider's error body."""
    try:
        value = jsonio.loads(body)
    except jsonio.JsonError:
        return None
    if isinstance(value, list) and value:
        value = value[0]
    error = value.get("error", value) if isinstance(value, dict) else None
    message = error.get("message") if isinstance(error, dict) else error
    return message if isinstance(message, str) and message else None
