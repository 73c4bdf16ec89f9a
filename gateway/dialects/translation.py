"""Translation for one attempt: the client and the target speak different dialects.

A Translation has the methods that a Dialect has for an attempt (`write_request`, `summarize`,
`inspect_stream`, `read_problem`). Their results are in the client's dialect.
"""

from collections.abc import Collection, Iterable, Mapping

import msgspec

from gateway.core import json_size, jsonio
from gateway.core.canonical_request import CanonicalRequest, Media
from gateway.core.errors import Problem
from gateway.core.events import (
    COMMIT_EVENT_TYPES,
    Declined,
    End,
    Event,
    Failed,
    Finish,
    GeneratedMedia,
    Opaque,
    ReasoningDelta,
    Start,
    TextDelta,
    ToolDelta,
    ToolStart,
    UsageUpdate,
)  # fmt: skip
from gateway.core.loss import Loss, write_dropped_comment
from gateway.core.prompt import Prompt
from gateway.core.target import Provider, Target
from gateway.core.usage import Usage
from gateway.dialects import (
    compatibility,
    content_length,
    count_tokens,
    embeddings,
    media_urls,
    tool_call_filter,
)
from gateway.dialects.base import (
    EMPTY_WRITTEN_BODY,
    Decoder,
    Dialect,
    EncodedRequest,
    Encoder,
    RequestBody,
    ResponseContext,
    ResponseSummary,
    TargetDialect,
    TargetTranslation,
    TranslationFunctions,
    WrittenBody,
)
from gateway.dialects.beta_headers import find_lost_betas
from gateway.dialects.history import History
from gateway.dialects.member_list import find_lost_members
from gateway.dialects.request_facts import RequestFacts
from gateway.dialects.stream_frames import make_broken_problem
from gateway.dialects.tool_call_filter import FILTERED_EVENTS, ToolCallFilter
from gateway.dialects.tool_reasoning import EventListener


def can_translate(client: Dialect, target_dialect: TargetDialect) -> bool:
    """Return True if the gateway can translate requests of one dialect to another."""
    return (
        client.translation is not None
        and target_dialect.translation is not None
        and client.operation == target_dialect.operation
        and target_dialect.operation in ("generate", count_tokens.OPERATION, embeddings.OPERATION)
    )


class TranslatableRequest(msgspec.Struct):
    """A client's request as targets of other dialects would be asked it; made when first needed."""

    client: Dialect
    body: RequestBody
    fetched_kinds: frozenset[str] = frozenset()
    """The kinds of media that the gateway fetches for targets that open no URL."""
    headers: Mapping[str, str] = {}
    """The client's headers that mean something to its dialect's providers."""
    _request: CanonicalRequest | None = None

    @property
    def request(self) -> CanonicalRequest:
        """The request in no dialect. Raises ProblemError where it cannot be read as one."""
        if self._request is None:
            self._request = decode_request(self.client, self.body, self.headers)
        return self._request

    def can_translate_to(self, target_dialect: TargetDialect) -> bool:
        """Return True if the gateway can translate the request to another dialect."""
        return can_translate(self.client, target_dialect)

    def translate_prompt(self, target_dialect: TargetDialect, target: Target) -> Prompt | str:
        """Return the prompt that a target would get, as routing sees it; or why it gets none."""
        request, reason = self._fill_stand_ins(target_dialect, target)
        if reason:
            return reason
        _, refusals = compatibility.check_request(request, target_dialect.name)
        return refusals[0] if refusals else _encode_body(request, target_dialect, target)[1].prompt

    def list_losses(self, target_dialect: TargetDialect, target: Target) -> tuple[Loss, ...]:
        """Return the losses of the request at a target."""
        return write_request(
            self._fill_stand_ins(target_dialect, target)[0], target_dialect, target
        ).losses

    @property
    def facts(self) -> RequestFacts:
        """The facts of the request that only a few rules need."""
        return self.client.read_facts(self.body)

    @property
    def history(self) -> History:
        """The last messages of it."""
        return self.client.read_history(self.body)

    def find_media_problem(self, target: Target) -> str:
        """Why a target at home cannot be given the media of the request; empty where it can."""
        if target.provider.media != "data" or self.client.translation is None:
            return ""
        return self._fill_stand_ins(self.client, target)[1]

    def find_media_to_fetch(self, dialect_name: str, provider: Provider) -> dict[str, Media]:
        """The media, by URL, that are to be fetched before a provider is asked."""
        goes_unchanged = dialect_name == self.client.name and provider.media != "data"
        if goes_unchanged or not self.fetched_kinds:
            return {}
        return media_urls.find_media_to_fetch(self.request, dialect_name, provider)

    def fill_media(self, fetched: Mapping[str, media_urls.FetchedMedia]) -> "TranslatableRequest":
        """Return the request with fetched media in place of their URLs."""
        copy = TranslatableRequest(self.client, self.body, self.fetched_kinds, self.headers)
        copy._request = media_urls.fill_request(self.request, fetched)
        return copy

    def _fill_stand_ins(
        self, dialect: TargetDialect, target: Target
    ) -> tuple[CanonicalRequest, str]:
        return media_urls.fill_stand_ins(
            self.request, dialect.name, target.provider, self.fetched_kinds
        )


class Translation:
    """The translation of one call with one target."""

    def __init__(
        self,
        client: Dialect,
        target_dialect: TargetDialect,
        request: CanonicalRequest,
        context: ResponseContext,
        listener: EventListener | None = None,
        *,
        finish_optional: bool = False,
    ) -> None:
        """`listener` hears the events of the answer.

        `finish_optional`: answers of the provider may end without a reason why.
        """
        self.target_dialect = target_dialect
        self._listener = listener
        self._finish_optional = finish_optional
        self._client_functions, self._target_functions = (
            get_translation(client),
            get_target_translation(target_dialect),
        )
        self._request = request
        self.dropped_names: dict[str, None] = {}
        """Parts that the client does not get, by the provider's names, so far."""
        self._context = msgspec.structs.replace(
            context,
            dropped_names=self.dropped_names,
            request=self._request,
            stream_usage=self._request.stream_usage,
            custom_tool_names=frozenset(
                tool.name for tool in self._request.tools if tool.kind == "custom"
            ),
        )
        self._allows_comments = client.allows_comments
        is_mapped = (
            compatibility.FIELD_RULES["parallel_tools_off"][target_dialect.name].treatment
            == "mapped"
        )
        self._takes_one_tool = request.parallel_tools is False and not is_mapped

    def write(self, _: RequestBody, target: Target) -> WrittenBody:
        """The body for the target, and every loss by the client's own names."""
        return write_request(self._request, self.target_dialect, target)

    def inspect_stream(
        self, _: RequestBody, _written: WrittenBody = EMPTY_WRITTEN_BODY
    ) -> "TranslatedStream":
        """Watch the stream of the answer."""
        decoder = self._target_functions.make_decoder()
        encoder = self._client_functions.make_encoder(self._context)
        return TranslatedStream(
            decoder,
            encoder,
            self._make_call_filter(),
            self._listener,
            dropped_names=self.dropped_names if self._allows_comments else {},
            finish_optional=self._finish_optional,
        )

    def _make_call_filter(self) -> ToolCallFilter:
        return ToolCallFilter(
            self._request,
            self._target_functions.tool_call_names,
            self.dropped_names,
            takes_one_tool=self._takes_one_tool,
        )

    def summarize(self, data: bytes) -> ResponseSummary:
        """A whole answer, and in `body` what the client gets of it."""
        collector = _EventCollector()
        all_events = self._target_functions.decode_response(data)
        events = tool_call_filter.filter_events(all_events, self._make_call_filter())
        if self._finish_optional:
            events = _add_reasons(events)
        for event in events:
            collector.add(event)
            if self._listener is not None:
                self._listener.on_event(event)
        body = (
            None
            if collector.problem is not None
            else self._client_functions.encode_response(events, self._context)
        )
        return ResponseSummary(
            usage=collector.usage,
            served_model=collector.served_model,
            response_id=collector.response_id,
            finish=collector.finish,
            content_bytes=sum(map(content_length.count_event_bytes, all_events)),
            complete=collector.problem is None and not any(map(_is_cut, events)),
            problem=collector.problem,
            body=body,
        )

    def read_problem(self, status: int, body: bytes, retry_after: float | None) -> Problem:
        """A provider's error: its words, not its shape."""
        return _without_body(self.target_dialect.read_problem(status, body, retry_after))


class TranslatedStream:
    """A stream on its way to a client of another dialect; see StreamInspector."""

    __slots__ = (
        "_call_filter",
        "_collector",
        "_decoder",
        "_dropped_names",
        "_encoder",
        "_finish_optional",
        "_has_ended",
        "_is_cut",
        "_listener",
        "_pending_frames",
        "_tool_choices",
        "committed",
        "content_bytes",
    )  # fmt: skip

    def __init__(
        self,
        decoder: Decoder,
        encoder: Encoder,
        call_filter: ToolCallFilter,
        listener: EventListener | None = None,
        *,
        dropped_names: Mapping[str, None] = {},
        finish_optional: bool = False,
    ) -> None:
        """`dropped_names` names, at the end, what a comment tells the client that it did not get.

        `finish_optional`: the answer may end without a reason why.
        """
        self._decoder = decoder
        self._encoder = encoder
        self._call_filter = call_filter
        self._listener = listener
        self._dropped_names, self._finish_optional = dropped_names, finish_optional
        self._is_cut = False
        """A choice has ended without a reason."""
        self._tool_choices: set[int] = set()
        """Choices that use a tool."""
        self._collector = _EventCollector()
        self._pending_frames: list[bytes] = []
        self._has_ended = False
        self.committed = False
        self.content_bytes = 0

    @property
    def usage(self) -> Usage | None:
        """See StreamInspector."""
        return self._collector.usage

    @property
    def served_model(self) -> str | None:
        """See StreamInspector."""
        return self._collector.served_model

    @property
    def response_id(self) -> str | None:
        """See StreamInspector."""
        return self._collector.response_id

    @property
    def finish(self) -> str | None:
        """See StreamInspector."""
        return self._collector.finish

    @property
    def problem(self) -> Problem | None:
        """See StreamInspector."""
        return self._collector.problem

    @property
    def complete(self) -> bool:
        """True if the provider ended the answer with a reason, as its dialect does."""
        return self._has_ended and self.problem is None

    def feed(self, data: bytes) -> bytes:
        """Take what was read from the provider; return what may go on to the client now."""
        return self._translate(self._decoder.feed(data))

    def end(self) -> bytes:
        """Take the end of the stream; return what was still held and may go on."""
        return self._translate(self._decoder.end())

    def _translate(self, events: Iterable[Event]) -> bytes:
        frames = self._pending_frames
        for event in events:
            event_type = type(event)
            if event_type in _COUNTED_EVENT_TYPES:
                self.content_bytes += content_length.count_event_bytes(event)
                if self.content_bytes > json_size.MAX_COMPLEX_BYTES:
                    # The last events of Responses repeat all text four times.
                    subject = f"more than {json_size.MAX_COMPLEX_BYTES:,} bytes of text"
                    self._write(Failed(make_broken_problem(subject)))
                    break
            if event_type in FILTERED_EVENTS:
                for kept_event in self._call_filter.take(event):  # type: ignore[arg-type]  # its type is checked above
                    self._write(kept_event)
                continue
            if event_type is TextDelta:
                self._call_filter.text_count += 1
            self._write(event)
            if event_type is Failed:
                break
        if not self.committed:
            return b""
        if self._has_ended and self._dropped_names:
            frames.append(write_dropped_comment(self._dropped_names))
            self._dropped_names = {}
        data = b"".join(frames)
        frames.clear()
        return data

    def _write(self, event: Event) -> None:
        """Write one event that the client gets."""
        event_type = type(event)
        if event_type in _COLLECTED_EVENT_TYPES:
            client_event = self._collect(event)
            if client_event is None or event_type is Failed:
                return
            event = client_event
        elif self._listener is not None:
            self._listener.on_event(event)
        if event_type is ToolStart:
            self._tool_choices.add(event.choice)  # type: ignore[union-attr]  # it has one
        self._pending_frames.append(self._encoder.write(event))
        if not self.committed and event_type in COMMIT_EVENT_TYPES:
            self.committed = True

    def _collect(self, event: Event) -> Event | None:
        """Take an event that is no content; gives what the client gets of it, None if nothing.

        An end without a reason is none, unless the provider may leave the reason out, and the
        answer has content.
        """
        if _is_cut(event):
            if not (self._finish_optional and self.committed):
                self._is_cut = True
                return None
            event = _add_reason(event, self._tool_choices)
        if isinstance(event, End):
            if self._is_cut:
                return None
            self._has_ended = True
        self._collector.add(event)
        return event


def _is_cut(event: Event) -> bool:
    """True if a choice ends without a reason."""
    return isinstance(event, Finish) and event.reason == "cut"


def _add_reason(event: Event, tool_choices: Collection[int]) -> Event:
    """Give the end of a choice the reason that its provider leaves out."""
    choice = event.choice if isinstance(event, Finish) else 0
    return Finish("tools" if choice in tool_choices else "stop", choice=choice)


def _add_reasons(events: list[Event]) -> list[Event]:
    """Give each end of a choice a reason, at a provider that leaves them out."""
    tool_choices = {event.choice for event in events if isinstance(event, ToolStart)}
    return [_add_reason(event, tool_choices) if _is_cut(event) else event for event in events]


_COUNTED_EVENT_TYPES = frozenset(
    {TextDelta, Declined, ReasoningDelta, ToolStart, ToolDelta, GeneratedMedia, Opaque}
)
_COLLECTED_EVENT_TYPES = frozenset({Start, UsageUpdate, Finish, Failed, End})


class _EventCollector:
    """The facts of an answer's events that accounting needs."""

    __slots__ = ("finish", "problem", "response_id", "served_model", "usage")

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.served_model: str | None = None
        self.response_id: str | None = None
        self.finish: str | None = None
        self.problem: Problem | None = None

    def add(self, event: Event) -> None:
        match event:
            case Start():
                self.served_model = event.model or self.served_model
                self.response_id = event.id or self.response_id
                self.usage = event.usage or self.usage
            case UsageUpdate():
                self.usage = event.usage
            case Finish() if not _is_cut(event):
                self.finish = event.word or event.reason
            case Failed():
                self.problem = _without_body(event.problem)
            case _:
                return


def _without_body(problem: Problem) -> Problem:
    """A provider's error in its own words and in no shape: that would be another dialect's."""
    if problem.body is None:
        return problem
    return msgspec.structs.replace(
        problem, body=None, message=_read_error_message(problem.body) or problem.message
    )


def get_translation(dialect: Dialect) -> TranslationFunctions:
    """Return the translation functions of a dialect. Raises LookupError where it has none."""
    if dialect.translation is None:
        raise LookupError(f"{dialect.name} is not translated")
    return dialect.translation


def get_target_translation(dialect: TargetDialect) -> TargetTranslation:
    """Return the translation to a target's dialect. Raises LookupError where there is none."""
    if dialect.translation is None:
        raise LookupError(f"{dialect.name} is not translated")
    return dialect.translation


def decode_request(
    client: Dialect, body: RequestBody, headers: Mapping[str, str] = {}
) -> CanonicalRequest:
    """Read a client's request as one in no dialect, and what is lost of it in any other.

    Raises ProblemError where it is no request at all.
    """
    functions = get_translation(client)
    request = functions.decode_request(body)
    members = functions.request_members
    if not members:
        return request
    lost_members = (
        *request.lost_members,
        *find_lost_members(body.value, members, "request"),
        *find_lost_betas(headers, functions.beta_header),
    )
    return msgspec.structs.replace(request, lost_members=lost_members)


def write_request(
    request: CanonicalRequest, target_dialect: TargetDialect, target: Target
) -> WrittenBody:
    """A request for a target that speaks `target_dialect`."""
    losses, _ = compatibility.check_request(request, target_dialect.name)
    encoded, inner_body = _encode_body(request, target_dialect, target)
    written_body = target_dialect.write(inner_body, target)
    model_losses = [
        Loss(_find_client_name(encoded, loss.field), loss.action, loss.reason)
        for loss in written_body.losses
    ]
    repeated = {
        (loss.field, loss.action) for loss in model_losses
    }  # the model's own limit is the nearer one
    dialect_losses = [loss for loss in encoded.losses if (loss.field, loss.action) not in repeated]
    all_losses = dict.fromkeys([*losses, *dialect_losses, *model_losses])
    return msgspec.structs.replace(written_body, losses=tuple(all_losses))


def _encode_body(
    request: CanonicalRequest, target_dialect: TargetDialect, target: Target
) -> tuple[EncodedRequest, RequestBody]:
    encoded = get_target_translation(target_dialect).encode_request(request, target)
    return encoded, target_dialect.read(jsonio.dumps({"model": target.model, **encoded.value}))


def _find_client_name(encoded: EncodedRequest, field: str) -> str:
    """The client's own name of a member that another dialect's `write_request` speaks of."""
    prefix = field
    while prefix:
        if prefix in encoded.client_names:
            return encoded.client_names[prefix]
        prefix = prefix.rpartition(".")[0]
    return field


def _read_error_message(body: bytes) -> str | None:
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
