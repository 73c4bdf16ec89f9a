"""The interface of a dialect: the functions and the stream state that the engine calls.

A dialect reads and writes requests and whole answers as values. For translation it also has:

    decode_request    a client's body -> a canonical request
    encode_request    that -> a body for a target
    decode_response   a whole answer -> events
    encode_response   events -> a whole answer
    make_decoder      a stream -> events
    make_encoder      events -> a stream

A target of another dialect gets the result of `encode_request`. The target dialect's `write` then
fits it to the model, as it fits a request of a native client.

    TargetDialect    what the gateway speaks to providers; it has three of the six
    Dialect          one that clients speak too
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import msgspec

from gateway.core import jsonio
from gateway.core.call import Call
from gateway.core.canonical_request import CanonicalRequest
from gateway.core.errors import Problem
from gateway.core.events import AnswerMetadata, Citation, Event, GeneratedMedia, MediaKind, Opaque
from gateway.core.jsonio import Json, Members
from gateway.core.loss import Loss
from gateway.core.prompt import Prompt
from gateway.core.rate_limits import RateLimits
from gateway.core.target import Target
from gateway.core.usage import Usage
from gateway.dialects.beta_headers import NO_BETA_HEADER, BetaHeader
from gateway.dialects.conversation_start import EMPTY_START, ConversationStart
from gateway.dialects.history import History
from gateway.dialects.member_list import MemberList
from gateway.dialects.request_facts import EMPTY_FACTS, RequestFacts


class LazyObject:
    """An object that is read when it is asked for."""

    __slots__ = ("_raw", "_value")

    def __init__(self, raw: bytes) -> None:
        """`raw` is valid JSON."""
        self._raw = raw
        self._value: dict[str, Json] | None = None

    @property
    def value(self) -> dict[str, Json]:
        """All of it."""
        if self._value is None:
            self._value = jsonio.loads(self._raw)
        return self._value


class RequestBody(msgspec.Struct, frozen=True):
    """A request body, read once."""

    raw: bytes
    """The bytes as the client sent them."""
    members: Members
    outline: dict[str, Json]
    """The body as an object, without the inner parts of tools."""
    prompt: Prompt
    whole: LazyObject | None = None
    """The whole body as an object; None if `outline` is the whole body."""

    @property
    def value(self) -> dict[str, Json]:
        """The whole body as an object."""
        return self.outline if self.whole is None else self.whole.value

    def without_member(self, name: str) -> "RequestBody":
        """Return the same body without one member."""
        members = {key: raw_value for key, raw_value in self.members.items() if key != name}
        raw = jsonio.join_members(members)
        outline = {key: value for key, value in self.outline.items() if key != name}
        whole = None if self.whole is None else LazyObject(raw)
        return RequestBody(raw, members, outline, self.prompt, whole)


class WrittenBody(msgspec.Struct, frozen=True):
    """A body for one target, and what it could not say."""

    body: bytes
    losses: tuple[Loss, ...] = ()
    url_suffix: str | None = None
    """The end of the provider's URL, where the request decides it."""
    asks_usage: bool = False
    """True if the gateway asks for usage in a stream whose client does not."""


EMPTY_WRITTEN_BODY = WrittenBody(b"")
"""A body that asks for nothing beside what its client does."""


def parse_response_id(value: Json) -> str | None:
    """Return the id of an answer; None where a provider gives none, an empty one or no text."""
    return value if isinstance(value, str) and value else None


class ResponseSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The facts of a whole answer that accounting needs."""

    usage: Usage | None = None
    served_model: str | None = None
    """The model that the provider says answered."""
    response_id: str | None = None
    """The id that the provider has given its answer."""
    finish: str | None = None
    """The provider's own word for why it stopped."""
    content_bytes: int = 0
    """UTF-8 bytes of text, reasoning, and names and arguments of tools; 0 too where the provider
    has counted, and nobody needs them."""
    complete: bool = False
    """True if the answer ended as its provider said: it gives a reason, and no error."""
    is_pending: bool = False
    """True if the provider still works on the answer, in the background."""
    problem: Problem | None = None
    """Set where a 200 carries an error, or no answer at all."""
    body: bytes | None = None
    """The body for the client, where it differs from the provider's."""


__all__ = ["Dialect", "RequestBody", "ResponseSummary", "StreamInspector", "WrittenBody"]


class StreamInspectorFactory(Protocol):
    """Begins to watch the stream that answers a request."""

    def __call__(
        self,
        body: RequestBody,
        written_body: WrittenBody = EMPTY_WRITTEN_BODY,
        /,
        *,
        finish_optional: bool = False,
    ) -> "StreamInspector":
        """Watch the stream that answers `body`, which the provider got as `written_body`.

        `finish_optional`: it may end without a reason why.
        """
        ...


class StreamInspector(Protocol):
    """A stream on its way to the client in the same dialect: bytes in, the same bytes out.

    Frames before the first content are held, so that another target can still take over.
    """

    @property
    def committed(self) -> bool:
        """True if content has gone to the client: from here on the gateway retries nothing."""
        ...

    @property
    def usage(self) -> Usage | None:
        """The usage that the provider has told so far."""
        ...

    @property
    def served_model(self) -> str | None:
        """The model that the provider says answers."""
        ...

    @property
    def response_id(self) -> str | None:
        """The id that the provider has given its answer."""
        ...

    @property
    def finish(self) -> str | None:
        """The provider's own word for why it stopped."""
        ...

    @property
    def problem(self) -> Problem | None:
        """An error that came in the stream."""
        ...

    @property
    def complete(self) -> bool:
        """True if the answer ended as its provider said: a reason, the end, and no error."""
        ...

    @property
    def content_bytes(self) -> int:
        """UTF-8 bytes of text, reasoning, and names and arguments of tools so far."""
        ...

    def feed(self, data: bytes) -> bytes:
        """Take what was read from the provider; return what may go on to the client now."""
        ...

    def end(self) -> bytes:
        """Take the end of the stream; return what was still held and may go on."""
        ...


type HeaderReader = Callable[[bytes], str | None]
"""Returns the first header of an answer by its name in lower case; None if there is none."""


def _keep_unchanged(body: bytes, _: Usage | None = None) -> bytes:
    """The answers of a dialect that tells usage to everybody: as they are."""
    return body


class TargetDialect(msgspec.Struct, frozen=True, kw_only=True):
    """A wire format in which the gateway calls providers; no client need speak it."""

    name: str
    operation: str = "generate"
    url_suffix: str = ""
    """The end that an operation adds to a provider's URL."""
    forwarded_headers: frozenset[bytes] = frozenset()
    """Client headers that mean something to its providers, in lower case; others stay here."""
    default_headers: dict[str, str] = {}
    """Headers that a provider wants, where the client sends none of that name."""
    essential_members: frozenset[str]
    """Members that change what the answer is: a target that refuses one is skipped."""
    read: Callable[[bytes], RequestBody]
    """Raises ProblemError where the body is not a request of this dialect."""
    write: Callable[[RequestBody, Target], WrittenBody]
    explain_unfit: Callable[[Prompt, Target], str]
    """Why a model cannot be asked this in this dialect; empty where it can."""
    read_problem: Callable[[int, bytes, float | None], Problem]
    """A provider's error: status, body, seconds of Retry-After."""
    complete_error: Callable[[bytes, HeaderReader], bytes] = lambda body, _: body
    """Adds to an error body what its providers say in headers alone."""
    needs_known_support: bool = False
    """Only providers that are known to have the operation are asked."""
    translation: "TargetTranslation | None" = None
    """The functions that translate requests to it, and answers from it; None if it has none."""


class Dialect(TargetDialect, frozen=True, kw_only=True):
    """A wire format that clients speak to the gateway, and the gateway to providers."""

    path: str
    """The path to which clients send a request."""
    forwarded_queries: frozenset[str] = frozenset()
    """Query strings that go on to a provider."""
    summarize: Callable[[bytes], ResponseSummary]
    inspect_stream: StreamInspectorFactory
    asks_usage: Callable[[RequestBody], bool]
    """True if the client wants usage in its stream."""
    fold: Callable[[bytes], bytes]
    """A recorded stream as the whole answer that says the same."""
    unfold: Callable[[bytes, bool], bytes]
    """A whole answer as the stream that says the same, with usage or without."""
    add_usage: Callable[[bytes, Usage | None], bytes] = _keep_unchanged
    """A recorded stream for a client that asked for usage; known usage goes in where it lacks."""
    remove_usage: Callable[[bytes], bytes] = _keep_unchanged
    """A recorded stream for a client that did not ask for usage."""
    fill_usage: Callable[[bytes, Usage | None], bytes] = _keep_unchanged
    """A folded stream whose client did not ask for usage, with usage as far as it is known."""
    write_problem: Callable[[Problem], bytes]
    """An error body."""
    write_problem_frame: Callable[[Problem], bytes]
    """An error inside a stream that has begun."""
    find_status: Callable[[Problem], int]
    """The HTTP status of an error."""
    write_rate_limits: Callable[[RateLimits], str] = lambda _: ""
    """The lines of headers that tell its SDKs of rate limits; none where they know none."""
    write_token_count: Callable[[int], bytes] | None = None
    """The answer that tells a number of tokens, of an operation that counts them."""
    keep_alive: bytes = b": ping\n\n"
    """A keep-alive in a stream, which its SDKs ignore."""
    answer_media: frozenset[MediaKind] = frozenset()
    """The media that its answers have a place for."""
    allows_comments: bool = True
    """True if its SDKs skip a comment after the end of a stream."""
    read_with_path: Callable[[bytes, str], RequestBody] | None = None
    """Reads a body whose request stands in part in its URL."""
    read_start: Callable[[RequestBody], ConversationStart] = lambda _: EMPTY_START
    """Reads how the conversation of a request begins."""
    read_facts: Callable[[RequestBody], RequestFacts] = lambda _: EMPTY_FACTS
    """Reads the facts of a request that only a few rules need."""
    read_end_user: Callable[[dict[str, Json]], str] = lambda _: ""
    """Reads the id of the end user whom the client names in a body's outline; empty if it names
    none."""
    read_history: Callable[[RequestBody], History] = lambda _: History()
    """The last messages of a request."""
    translation: "TranslationFunctions | None" = None
    """The functions that translate it to and from others; None where it is not translated."""

    def read_call(self, call: Call) -> RequestBody:
        """The body of a call. Raises ProblemError as `read` does."""
        return (
            self.read(call.body)
            if self.read_with_path is None
            else self.read_with_path(call.body, call.path)
        )


class EncodedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request in another dialect than it came in."""

    value: dict[str, Json]
    """The body, as a client of that dialect would send it; `model` is set by its `write`."""
    client_names: Mapping[str, str] = {}
    """The client's own name of each member that the encoder wrote, by the path of the member."""
    losses: tuple[Loss, ...] = ()
    """Losses of this body beyond the rules of dialects.compatibility."""


_MAX_DROPPED_NAMES = 100
"""The most names of dropped parts of one answer: a provider may send a new one in each chunk."""


class ResponseContext(msgspec.Struct, frozen=True, kw_only=True):
    """Facts that an encoder of an answer needs beside the events."""

    id: str
    """The call's own id: what ids of the answer are made of where the provider gave none."""
    created_at: int
    """Seconds since the epoch."""
    model: str
    """The model that was called; what the provider says answers goes before it."""
    stream_usage: bool = True
    """True if the client asked for usage in its stream."""
    prompt_tokens: int = 0
    """An estimate, for dialects that tell input before the provider has."""
    custom_tool_names: frozenset[str] = frozenset()
    """Names of the request's custom tools."""
    state_label: str = ""
    """Put before a maker's state, so that it is known again when it comes back."""
    request: CanonicalRequest | None = None
    """The client's request, for dialects whose answers repeat it."""
    dropped_names: dict[str, None] = {}
    """Parts that the client did not get, by the provider's names."""

    def drop(self, event: Citation | GeneratedMedia | Opaque | AnswerMetadata) -> bytes:
        """Name an event that the client cannot be told; return no frame."""
        if len(self.dropped_names) < _MAX_DROPPED_NAMES:
            self.dropped_names[event.name] = None
        return b""


class Decoder(Protocol):
    """A provider's stream: bytes in, whatever was read of it; events out."""

    def feed(self, data: bytes) -> list[Event]:
        """Take what was read. After a Failed nothing more comes."""
        ...

    def end(self) -> list[Event]:
        """Take the end of the stream; the last frame may lack its blank line."""
        ...


class Encoder(Protocol):
    """A stream for a client: events in, whole frames out."""

    def write(self, event: Event) -> bytes:
        """Return the frames of an event; nothing for one that the dialect has no form for.

        Failed becomes nothing: the dialect's `write_problem_frame` tells it.
        """
        ...


class TargetTranslation(msgspec.Struct, frozen=True, kw_only=True):
    """The functions that translate to and from a dialect, and the members of its answers."""

    encode_request: Callable[[CanonicalRequest, Target], EncodedRequest]
    decode_response: Callable[[bytes], list[Event]]
    """Never raises: what is no answer is a Failed."""
    make_decoder: Callable[[], Decoder]
    answer_members: MemberList = {}
    """The member list of its answers: `answer` is a whole one, `event` a frame of a stream."""
    tool_call_names: tuple[str, str] = ("", "")
    """The names that answers have for the call of a function, and that of a custom tool."""


class TranslationFunctions(TargetTranslation, frozen=True, kw_only=True):
    """The six functions of one dialect, and the members of requests and answers that it knows."""

    decode_request: Callable[[RequestBody], CanonicalRequest]
    """Raises ProblemError, invalid_request with the field, for what is no request at all."""
    encode_response: Callable[[Iterable[Event], ResponseContext], bytes]
    make_encoder: Callable[[ResponseContext], Encoder]
    request_members: MemberList = {}
    """The member list of its requests; `request` is the whole body."""
    beta_header: BetaHeader = NO_BETA_HEADER
    """The header in which its clients ask for betas."""
