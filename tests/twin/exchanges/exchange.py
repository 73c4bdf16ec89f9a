"""One exchange: what a client sends, what the provider answers, and what the twin test observes of both."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.e2e.upstream import Answer
from tests.twin.configuration import HOST, SECRETS

type Json = dict[str, Any]


@dataclass(frozen=True)
class ProviderRequest:
    """One request that a gateway sent to the provider."""

    line: bytes
    head: bytes
    """The header lines, in their order."""
    body: bytes

    @property
    def path(self) -> str:
        """The path with its query."""
        return self.line.split(b" ")[1].decode("latin-1")


@dataclass
class Observation:
    """The bytes that one gateway sent during one exchange, to the client and to the provider."""

    sent: list[ProviderRequest] = field(default_factory=list)
    status: bytes = b""
    """The status line of the answer."""
    head: list[bytes] = field(default_factory=list)
    body: bytes = b""
    """The body without chunked coding: where packets and chunks end does not count."""
    end: str = "whole"
    """`whole`, `cut` inside an answer, `none` without any, `left` by the client, or `late`."""
    others: list[bytes] = field(default_factory=list)
    """Interim answers, answers to concurrent requests, and all bytes of a raw exchange."""

    @property
    def code(self) -> int:
        """The status code; 0 without an answer."""
        fields = self.status.split(b" ")
        return int(fields[1]) if len(fields) > 1 else 0

    def header(self, name: str) -> str | None:
        """Return the first header of a name, given in lower case."""
        for line in self.head:
            key, _, value = line.partition(b":")
            if key.lower() == name.encode():
                return value.strip().decode("latin-1")
        return None

    @property
    def json(self) -> Any:
        """The body as JSON; None if it is not JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


type History = Mapping[str, Observation]
"""Earlier answers of one gateway, by the names of their exchanges."""
type Script = Answer | Callable[[ProviderRequest], Answer]
type RequestSource = bytes | Callable[[History], bytes]
"""The bytes of a request, or a function that makes them from earlier answers of the same gateway."""

_SEQUENTIAL = frozenset(
    {"features", "mixed", "repeated", "shipped", "embeddings", "talks", "tool loops", "stored answers", "limits", "faults"}
)  # fmt: skip
_LOCAL = frozenset({"queries", "rows", "routes"})


@dataclass(frozen=True)
class TwinExchange:
    """One exchange. Names are unique; the two gateways get the same bytes in the same order."""

    section: str
    name: str
    request: RequestSource
    answers: tuple[Script, ...] = ()
    """The provider's answers in the order of its requests. The last one is repeated."""
    concurrent: tuple[RequestSource, ...] = ()
    """Requests that the client sends a moment later, each on a connection of its own."""
    raw: bool = False
    """True if the request may not be HTTP: the client reads until nothing more comes."""
    leave_after: bytes = b""
    """The client closes its connection once it has read these bytes."""
    fresh: bool = False
    """True if it needs a connection of its own."""
    keeps_body: bool = False
    """True if later requests are made from the body of its answer."""
    pause: float = 0.0
    """Seconds to wait before it, where a gateway does something by the clock."""

    @property
    def reaches_provider(self) -> bool:
        """True if it is a call for a provider; the gateway answers the others by itself."""
        return self.section not in _LOCAL

    @property
    def is_settled_first(self) -> bool:
        """True if the next exchange may depend on the row, the session or the budget of this one."""
        return self.section in _SEQUENTIAL


def resolve(source: RequestSource, history: History) -> bytes:
    """Return the bytes of a request."""
    return source if isinstance(source, bytes) else source(history)


def http_request(
    method: str,
    path: str,
    body: Json | bytes | None = None,
    key: str = "",
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """Write a client's request. `key` is the name of a client key; "" sends none."""
    data = body if isinstance(body, bytes) else b"" if body is None else _spaced_json(body)
    lines = [f"{method} {path} HTTP/1.1", f"host: {HOST}", "user-agent: twin/1"]
    if key:
        lines.append(f"authorization: Bearer {SECRETS.get(key, key)}")
    if body is not None:
        lines += ["content-type: application/json", f"content-length: {len(data)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + data


def body_of(request: bytes) -> bytes:
    """Return the body of a request."""
    return request.partition(b"\r\n\r\n")[2]


def _spaced_json(value: Any) -> bytes:
    """Write JSON in a spacing that no encoder of the gateway has: a gateway must pass it on."""
    text = json.dumps(value, ensure_ascii=False, separators=(", ", " : "))
    return text.encode("utf-8", "surrogatepass")


def unique(exchanges: Iterable[TwinExchange]) -> list[TwinExchange]:
    """List exchanges. Raises ValueError where two have one name: names identify them."""
    listed = list(exchanges)
    counts = Counter(exchange.name for exchange in listed)
    if repeated := [name for name, count in counts.items() if count > 1]:
        message = f"exchanges with the same name: {repeated[:5]}"
        raise ValueError(message)
    return listed
