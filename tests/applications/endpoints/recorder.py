"""Run the calls of a script, and record what the provider received for each."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx

from tests.e2e.upstream import Request, Upstream

type Json = Any

TEXT_CALL = "text"
"""The operation of calls for text and embeddings, which have no table."""

_BOUNDARY = re.compile(rb"boundary=\"?([^\";]+)")
_OWN_HEADERS = re.compile(
    r"(authorization|x-api-key|api-key|x-goog-api-key|host|user-agent|connection|accept-encoding"
    r"|content-length|transfer-encoding|traceparent|tracestate|x-tiergate-.*|x-client-request-id"
    r"|cookie)"
)
"""Headers that a gateway writes itself: credentials, the connection, tracing."""
_CLIENT_HEADERS = re.compile(r"x-stainless-.*|x-goog-api-client|x-server-timeout")
"""Headers with which an SDK tells of itself. No provider needs them."""


@dataclass(frozen=True)
class Received:
    """A request as a provider received it, without what differs from connection to connection."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: tuple[tuple[str, str], ...]
    body: bytes


@dataclass(frozen=True)
class Step:
    """One call of an SDK's method."""

    operations: tuple[str, ...]
    """The endpoints that the method calls, in order."""
    received: tuple[Received, ...]
    units: Json
    """What the row must have in `units`; an empty mapping if nothing."""
    tokens: tuple[int, int] | None
    """The tokens of input and output that the row must have; None if none."""
    is_free: bool
    usd: str | None
    """The cost of the row where the price list that ships has one; None leaves it open."""


@dataclass
class Recorder:
    """Runs one call after the other against a provider on loopback."""

    upstream: Upstream
    prefix: str
    """The path before the API's own paths at the provider."""
    url: str
    """The URL that the client was given: the provider's, or the gateway's."""
    key: str
    steps: list[Step] = field(default_factory=list)

    def __call__[T](
        self,
        operations: str,
        kind: type[T],
        call: Callable[[], Any],
        *,
        units: Json = None,
        tokens: tuple[int, int] | None = None,
        free: bool = False,
        usd: str | None = None,
    ) -> T:
        """Run a call and return its result, which must be of a type."""
        before = len(self.upstream.requests)
        try:
            result = call()
        except Exception as error:
            error.add_note(f"in the call of {operations}")
            raise
        assert isinstance(result, kind), f"{operations}: {type(result)} is no {kind}"
        requests = [it for it in self.upstream.requests[before:] if not is_of_the_gateway(it)]
        received = tuple(read_received(request, self.prefix) for request in requests)
        self.steps.append(Step(tuple(operations.split()), received, units or {}, tokens, free, usd))
        return result

    def post(self, url: str, body: Json) -> Json:
        """Send JSON without an SDK, with the key as Google has it."""
        headers = {"x-goog-api-key": self.key}
        return httpx.post(url, json=body, headers=headers, trust_env=False).json()


def is_of_the_gateway(request: Request) -> bool:
    """True for a question of the gateway itself about a job, or for its results.

    Each request of an SDK says what it accepts.
    """
    return request.method == "GET" and request.header("accept") is None


def read_received(request: Request, prefix: str) -> Received:
    """Return a request without what differs between two connections or two runs."""
    parts = urlsplit(request.path)
    content_type = (request.header("content-type") or "").encode()
    body, boundary = request.body, _BOUNDARY.search(content_type)
    headers = [(name.decode().lower(), value.decode("latin-1")) for name, value in request.headers]
    if boundary is not None:  # the SDK chooses another for each form
        body = body.replace(boundary[1], b"BOUNDARY")
        headers = [(name, value.replace(boundary[1].decode(), "BOUNDARY")) for name, value in headers]  # fmt: skip
    kept = [
        (name, value)
        for name, value in headers
        if not _OWN_HEADERS.fullmatch(name) and not _CLIENT_HEADERS.fullmatch(name)
    ]
    query = tuple(
        pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] != "key"
    )
    return Received(
        request.method, parts.path.removeprefix(prefix), query, tuple(sorted(kept)), body
    )
