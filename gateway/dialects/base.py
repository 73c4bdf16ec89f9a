"""What every dialect can do: the functions and the stream state that the engine calls."""

from collections.abc import Callable
from typing import Protocol

import msgspec

from gateway.core.call import Call
from gateway.core.errors import Problem
from gateway.core.prompt import Prompt
from gateway.core.target import Target
from gateway.core.usage import Usage
from gateway.dialects.body import UNWRITTEN, RequestBody, ResponseSummary, WrittenBody
from gateway.dialects.conversation_start import NOTHING, ConversationStart
from gateway.dialects.speech import TranslationFunctions

__all__ = ["Dialect", "RequestBody", "ResponseSummary", "StreamInspector", "WrittenBody"]


class StreamInspectorFactory(Protocol):
    """Begins to watch the stream that answers a request."""

    def __call__(
        self,
        body: RequestBody,
        written: WrittenBody = UNWRITTEN,
        /,
        *,
        finish_optional: bool = False,
    ) -> "StreamInspector":
        """Watch the stream that answers `body`, which the provider got as `written`.

        `finish_optional`: it may end without a reason why.
        """
        ...


class StreamInspector(Protocol):
    """A stream on its way to the client in the same dialect: bytes in, the same bytes out.

    Frames before the first content are held, so that another target can still take over.
    """

    @property
    def committed(self) -> bool:
        """Whether content has been let through: from here on nothing is retried."""
        ...

    @property
    def usage(self) -> Usage | None:
        """As far as it was told."""
        ...

    @property
    def served(self) -> str | None:
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
    def heard(self) -> int:
        """UTF-8 bytes of text, reasoning, and names and arguments of tools so far."""
        ...

    def feed(self, data: bytes) -> bytes:
        """Take what was read from the provider; return what may go on to the client now."""
        ...

    def end(self) -> bytes:
        """Take the end of the stream; return what was still held and may go on."""
        ...


def _as_told(body: bytes, _: Usage | None = None) -> bytes:
    """The answers of a dialect that tells usage to everybody: as they are."""
    return body


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """One wire format."""

    name: str
    path: str
    """Where clients send it."""
    operation: str = "generate"
    tail: str = ""
    """What an operation adds to a provider's door."""
    queries: frozenset[str] = frozenset()
    """Query strings that go on to a provider."""
    headers: frozenset[bytes]
    """Client headers that mean something to its providers, in lower case; others stay here."""
    defaults: dict[str, str] = {}
    """Headers that a provider wants, where the client sends none of that name."""
    features: frozenset[str]
    """Members that change what the answer is: a target that refuses one is skipped."""
    read: Callable[[bytes], RequestBody]
    """Raises ProblemError where the body is not a request of this dialect."""
    write: Callable[[RequestBody, Target], WrittenBody]
    glance: Callable[[bytes], ResponseSummary]
    watch: StreamInspectorFactory
    asks_usage: Callable[[RequestBody], bool]
    """Whether the client wants usage told in a stream."""
    fold: Callable[[bytes], bytes]
    """A recorded stream as the whole answer that says the same."""
    unfold: Callable[[bytes, bool], bytes]
    """A whole answer as the stream that says the same, with usage or without."""
    tell_usage: Callable[[bytes, Usage | None], bytes] = _as_told
    """A recorded stream for a client that asked for usage; known usage goes in where it lacks."""
    hide_usage: Callable[[bytes], bytes] = _as_told
    """A recorded stream for a client that did not ask for usage."""
    complete: Callable[[bytes, Usage | None], bytes] = _as_told
    """A folded stream whose client did not ask for usage, with usage as far as it is known."""
    problem: Callable[[Problem], bytes]
    """An error body."""
    problem_frame: Callable[[Problem], bytes]
    """An error inside a stream that has begun."""
    status: Callable[[Problem], int]
    """The HTTP status of an error."""
    unfit: Callable[[Prompt, Target], str]
    """Why a model cannot be asked this in this dialect; empty where it can."""
    read_problem: Callable[[int, bytes, float | None], Problem]
    """A provider's error: status, body, seconds of Retry-After."""
    counted: Callable[[int], bytes] | None = None
    """The answer that tells a number of tokens, of an operation that counts them."""
    rare: bool = False
    """Only providers that are known to have the operation are asked."""
    keep_alive: bytes = b": ping\n\n"
    """A sign of life in a stream that its SDKs ignore."""
    comments: bool = True
    """Whether its SDKs skip a comment after the end of a stream."""
    read_at: Callable[[bytes, str], RequestBody] | None = None
    """Reads a body whose request stands in part in its URL."""
    opening: Callable[[RequestBody], ConversationStart] = lambda _: NOTHING
    """How the conversation of a request begins."""
    speech: TranslationFunctions | None = None
    """How it is translated to and from others; None where it is not."""

    def asked(self, call: Call) -> RequestBody:
        """The body of a call. Raises ProblemError as `read` does."""
        return self.read(call.body) if self.read_at is None else self.read_at(call.body, call.path)
