"""Faults of a provider: errors, cuts, silence and nonsense, each at a lab of its own."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from tests.applications.provider.faults import Fault
from tests.e2e.upstream import DROPPED, HTML, SILENT, SSE, Answer
from tests.twin.configuration import DIALECTS, SHORT, fault_lab
from tests.twin.exchanges.client_requests import ClientRequest, write
from tests.twin.exchanges.exchange import ProviderRequest, Script, TwinExchange
from tests.twin.exchanges.provider_answers import answering, error, is_stream
from tests.twin.provider import RawAnswer

_PLAIN = ClientRequest((("user", "What is the weather in Rome?"),), max_tokens=5000)
_RATE_LIMITS = {
    "x_ratelimit_limit_requests": "100", "x_ratelimit_remaining_requests": "1", "x_ratelimit_reset_requests": "300s",
    "x_ratelimit_limit_tokens": "100000", "x_ratelimit_remaining_tokens": "9", "x_ratelimit_reset_tokens": "300s",
}  # fmt: skip


@dataclass(frozen=True)
class _Case:
    """One fault."""

    title: str
    fault: Script
    """The answer to the first request of the exchange; later requests get an honest one."""
    lasts: bool = False
    """True if every request gets the fault."""


def _raw(head: bytes, body: bytes = b"") -> RawAnswer:
    """Write an answer as it is.

    The provider closes the connection after it and says so. Else a gateway would sometimes send the
    next request on it before it sees the end.
    """
    lines = (head + b"\nconnection: close\n\n").replace(b"\n", b"\r\n")
    return RawAnswer(pieces=(lines + body,))


def _cut_after(pieces: int) -> Script:
    """Cut an honest answer after some of its pieces."""
    honest = answering("cut", _PLAIN)

    def respond(sent: ProviderRequest) -> Answer:
        answer = honest(sent)
        whole = answer.pieces[0] or b""
        begun = answer.pieces[:pieces] if is_stream(sent) else (whole[: pieces * 20],)
        return replace(answer, pieces=begun, end="cut")

    return respond


def _stalled(sent: ProviderRequest) -> Answer:
    """Begin an honest answer and send nothing more."""
    answer = answering("stalled", _PLAIN)(sent)
    begun = answer.pieces[:4] if is_stream(sent) else ((answer.pieces[0] or b"")[:60],)
    return replace(answer, pieces=begun, end="stall")


def _nearly_limited(sent: ProviderRequest) -> Answer:
    """Answer honestly, with rate limit headers that leave hardly anything."""
    lines = tuple((name.replace("_", "-"), value) for name, value in _RATE_LIMITS.items())
    answer = answering("limited", _PLAIN)(sent)
    return replace(answer, headers=(*answer.headers, *lines))


def _body(body: bytes, kind: str = "application/json", status: int = 200) -> Answer:
    return Answer(
        pieces=(body,), status=status, headers=(("content-type", kind),), length=len(body)
    )


def _cases() -> list[_Case]:
    """List every fault once."""
    errors: list[tuple[int, dict[str, Any]]] = [
        (400, {}), (401, {}), (402, {}), (403, {}), (404, {}), (408, {}), (409, {}), (413, {}), (422, {}), (429, {"retry_after": "1"}),
        (429, {"retry_after": "90"}), (429, {}), (429, _RATE_LIMITS), (500, {}), (502, {}), (503, {"retry_after": "1"}), (503, {}), (529, {}), (302, {}), (204, {}),
    ]  # fmt: skip
    context = "This model's maximum context length is 4096 tokens, your messages have 9000."
    return [
        *(_Case(f"{status} {' '.join(headers)}".strip(), error(status, **headers)) for status, headers in errors),
        *(_Case(f"{status}, which lasts", error(status), lasts=True) for status in (400, 401, 403, 404, 500, 529)),
        *(_Case(fault.value, answering("spoilt", _PLAIN, fault)) for fault in Fault),
        _Case("a context that is too long", error(400, context)),
        _Case("closed before the head", DROPPED),
        _Case("closed before the head, always", DROPPED, lasts=True),
        _Case("silence", SILENT),
        _Case("silence, always", SILENT, lasts=True),
        _Case("cut at once", _cut_after(0)),
        _Case("cut after the first frame", _cut_after(1)),
        _Case("cut after some frames", _cut_after(5)),
        _Case("cut after some frames, always", _cut_after(5), lasts=True),
        _Case("silence in the middle", _stalled, lasts=True),
        _Case("little is left", _nearly_limited),
        _Case("a page", HTML),
        _Case("nothing", _body(b"")),
        _Case("nothing, as a stream", _body(b"", "text/event-stream")),
        _Case("a list", _body(b"[1, 2]")),
        _Case("null", _body(b"null")),
        _Case("a number that is too long", _body(b'{"id": 1e400, "choices": [{"message": {"content": "x"}}]}')),
        _Case("no text encoding", _body(b'{"choices": [{"message": {"content": "\xff\xfe"}}]}')),
        _Case("comments alone", Answer(pieces=(b": hi\n\n", b": still there\n\n"), headers=SSE)),
        _Case("a frame that is no JSON", Answer(pieces=(b"data: {oops\n\n", b"data: [DONE]\n\n"), headers=SSE)),
        _Case("a long error", _body(b'{"error": {"message": "' + b"x" * 50_000 + b'"}}', status=400)),
        _Case("no HTTP", RawAnswer(pieces=(b"SSH-2.0-OpenSSH_9.9\r\n\r\n",))),
        _Case("a wrong length", _raw(b"HTTP/1.1 200 OK\ncontent-type: application/json\ncontent-length: 500", b'{"id": "x"}')),
        _Case("two lengths", _raw(b"HTTP/1.1 200 OK\ncontent-length: 5\ncontent-length: 7", b"12345")),
        _Case("HTTP/1.0", _raw(b"HTTP/1.0 200 OK\ncontent-type: application/json", b'{"id": "x", "choices": []}')),
        _Case("an early hint", _raw(b"HTTP/1.1 103 Early Hints\nlink: </a>\n\nHTTP/1.1 500 Broken\ncontent-length: 2", b"no")),
        _Case("a chunk that is none", _raw(b"HTTP/1.1 200 OK\ntransfer-encoding: chunked", b"zz\r\nabc\r\n")),
        _Case("a coding that nobody asked for", _raw(b"HTTP/1.1 200 OK\ncontent-encoding: br\ncontent-length: 3", b"abc")),
        _Case("a large head", _raw(b"HTTP/1.1 200 OK\nx-large: " + b"y" * 90_000 + b"\ncontent-length: 2", b"{}")),
        _Case("a folded head", _raw(b"HTTP/1.1 200 OK\nx-a: b\n c\ncontent-length: 2", b"{}")),
    ]  # fmt: skip


def faults() -> Iterator[TwinExchange]:
    """Yield every fault for two dialects of clients, whole and streamed."""
    for index, case in enumerate(_cases()):
        for stream in (False, True):
            for variant in (0, 1):
                number = 4 * index + 2 * stream + variant
                dialect = DIALECTS[(index + 2 * variant + stream) % 4]
                request = replace(_PLAIN, stream=stream)
                name = f"fault {number}: {case.title}, {SHORT[dialect]}{' streamed' * stream}"
                scripts = [case.fault] if case.lasts else [case.fault, answering(name, request)]
                headers = {"x-stainless-retry-count": "1"} if case.lasts and variant else {}
                data = write(dialect, request, f"{fault_lab(number)}/smart", headers)
                yield TwinExchange("faults", name, data, tuple(scripts))


COUNT = 4 * len(_cases())
"""Number of labs that the exchanges need."""
