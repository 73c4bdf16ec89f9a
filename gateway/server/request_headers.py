"""The edge: headers and bytes of a request made into a Call, or refused before they are one."""

import functools
import math
import os
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any
from urllib.parse import parse_qs

from gateway.core.call import NO_STEER, OPEN, Call, Complete, Key, RequestOptions
from gateway.core.errors import Kind, Problem, ProblemError
from gateway.dialects import Dialect
from gateway.limits.keys import KeyTable, hashed
from gateway.upstream.client import HOP

type Scope = MutableMapping[str, Any]
type Message = MutableMapping[str, Any]
type Receive = Callable[[], Awaitable[Message]]
type Send = Callable[[Message], Awaitable[None]]

_SECRETS = (b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key")
_STEER = b"x-tiergate-"
_HOP = HOP.encode()
_RETRIED = b"x-stainless-retry-count"
_CACHE = b"cache-control"
_TRACE = b"traceparent"
_HINTS = frozenset({_RETRIED, b"x-stainless-read-timeout", b"x-stainless-timeout", _CACHE})
"""What the official SDKs say of themselves, times in seconds; and what a cache may do."""
_CLUES = frozenset(
    {
        b"user-agent", b"x-title",
        b"x-claude-code-session-id", b"x-claude-code-agent-id", b"x-claude-code-request-class",
        b"x-claude-code-auxiliary-type",
        b"thread-id", b"session-id", b"session_id", b"conversation_id", b"x-openai-subagent",
        b"x-codex-parent-thread-id", b"x-codex-guardian", b"x-openai-memgen-request",
        b"x-session-id", b"x-parent-session-id", b"x-session-affinity", b"x-grok-conv-id",
        b"x-openwebui-chat-id", b"x-conversation-id",
    }
)  # fmt: skip
"""What agents and chat applications say of themselves and of a call's conversation."""
_CLUE = 200
"""Bytes of a clue that are kept."""
MOST_HEADERS = 16_384
"""Bytes."""
_MOST_LINES = 100
_MOST_TAGS = 16
_CACHES = (None, "on", "off", "refresh", "exact")
_COMPLETE: Mapping[str, Complete] = {"on": "hold", "hold": "hold", "off": "off"}
_LONG = 9
"""Bytes of a number."""
CROWDED = Problem(
    kind="invalid_request",
    message=f"The headers are more than {_MOST_LINES} or {MOST_HEADERS:,} bytes.",
    status=431,
)


class ClientGone(Exception):
    """The client has left."""


def new_id() -> str:
    """An id of a call: time-ordered, unique without coordination."""
    try:
        own = _own.pop()
    except IndexError:
        found = os.urandom(6 * _AT_ONCE).hex()
        _own.extend(found[at : at + 12] for at in range(12, len(found), 12))
        own = found[:12]
    return f"tg-{time.time_ns() // 1_000_000:011x}{own}"


_AT_ONCE = 256
_own: list[str] = []
"""Random ends of ids: many are asked of the system at once."""
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_own.clear)


@functools.cache
def _meanings(forwarded: frozenset[bytes]) -> Mapping[bytes, str]:
    """What each header is that says something, in a dialect that forwards some."""
    return {
        **dict.fromkeys(_CLUES, "clue"),
        b"content-encoding": "coding",
        _TRACE: "trace",
        **dict.fromkeys(_HINTS, "hint"),
        b"content-length": "length",
        **dict.fromkeys(forwarded, "forwarded"),
        **dict.fromkeys(_SECRETS, "secret"),
    }


class RequestHeaders:
    """What the headers of a request say."""

    __slots__ = (
        "control",
        "digest",
        "forwarded",
        "hints",
        "length",
        "patience",
        "retried",
        "secrets",
        "steer",
        "trace",
    )

    def __init__(
        self,
        headers: Sequence[tuple[bytes, bytes]],
        forwarded: frozenset[bytes] = frozenset(),
        defaults: Mapping[str, str] = {},
    ) -> None:
        """Read headers. Raises ProblemError: loop, media_type, invalid_request."""
        self.forwarded: dict[str, str] = dict(defaults)
        self.hints: dict[str, str] = {}
        self.length: int | None = None
        self.trace: str | None = None
        self.control = b""
        """What its client says to caches."""
        self.retried = 0
        """How often the client has asked before."""
        self.patience: float | None = None
        """Seconds after which it leaves."""
        found: list[tuple[bytes, bytes]] = []
        steer: dict[str, str] = {}
        size = 0
        meanings = _meanings(forwarded)
        for name, value in headers:
            size += len(name) + len(value)
            meaning = meanings.get(name)
            if meaning is None:
                if name.startswith(_STEER):
                    if name == _HOP:
                        message = "This request has already passed through this gateway."
                        raise _refuse("loop", message)
                    steer[name[len(_STEER) :].decode("latin-1")] = _text(value).strip()
                continue
            if name in _CLUES:
                self.hints[name.decode()] = value[:_CLUE].decode("latin-1")
            if meaning == "secret":
                found.append((name, value))
            elif meaning == "length":
                self.length = int(value) if value.isdigit() else None
            elif meaning != "clue":
                self._take(meaning, name, value)
        if size > MOST_HEADERS or len(headers) > _MOST_LINES:
            raise ProblemError(CROWDED)
        self.secrets = _secrets(found) if found else {}
        self.digest: bytes | None = None
        """Of the secret, once it was needed: a head may come again."""
        self.steer = _steer(steer, self.control) if steer or self.control else NO_STEER

    def _take(self, meaning: str, name: bytes, value: bytes) -> None:
        """Take what few send. Raises ProblemError."""
        if meaning == "forwarded":
            if not value.isascii():
                raise _refuse("invalid_request", f"The header {name.decode()} is not ASCII.")
            self.forwarded[name.decode()] = value.decode()
            if name == _TRACE:
                self.trace = value.decode()
        elif meaning == "hint":
            self._hear(name, value)
        elif meaning == "trace":
            self.trace = value.decode("latin-1") or None
        elif value.strip().lower() != b"identity":
            raise _refuse("media_type", "Send the body without a content-encoding.")

    def _hear(self, name: bytes, value: bytes) -> None:
        """Take what an SDK says of itself; what is no number says nothing."""
        if name == _CACHE:
            self.control += value.lower() + b","
        elif name == _RETRIED:
            self.retried = int(value[:_LONG]) if value.isdigit() else 0
        else:
            self.patience = _shorter(self.patience, value)

    def add(self, query: bytes) -> None:
        """Take the key of a Gemini request's URL, where one stands there."""
        for value in parse_qs(query.decode("latin-1")).get("key", []):
            self.secrets.setdefault(value, "the URL")


def _text(value: bytes) -> str:
    """A word of a client: in UTF-8, as most send it, else in what RFC 9110 5.5 calls historical."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _secrets(found: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    """The different secrets that came, each with the name of its header."""
    secrets: dict[str, str] = {}
    for name, value in found:
        text = value.decode("latin-1").strip()
        scheme, _, rest = text.partition(" ")
        secrets.setdefault(rest.strip() if scheme.lower() == "bearer" else text, name.decode())
    return secrets


def _shorter(before: float | None, value: bytes) -> float | None:
    """The shorter of two times."""
    try:
        seconds = float(value[:_LONG])
    except ValueError:
        return before
    if not 0 < seconds < math.inf:
        return before
    return seconds if before is None else min(before, seconds)


def _steer(steer: dict[str, str], control: bytes = b"") -> RequestOptions:
    cache, on_loss = steer.get("cache") or None, steer.get("on-loss")
    if cache not in _CACHES:
        raise _refuse("invalid_request", "x-tiergate-cache is on, off, refresh or exact.")
    if on_loss not in (None, "refuse", "drop-and-tell"):
        raise _refuse("invalid_request", "x-tiergate-on-loss is refuse or drop-and-tell.")
    complete = steer.get("complete")
    if complete is not None and complete not in _COMPLETE:
        hint = " `live` is no longer served: send hold, or leave it out." * (complete == "live")
        raise _refuse("invalid_request", f"x-tiergate-complete is on, hold or off.{hint}")
    stream_cost = steer.get("stream-cost")
    if stream_cost not in (None, "on", "off"):
        raise _refuse("invalid_request", "x-tiergate-stream-cost is on or off.")
    tags = tuple(filter(None, (tag.strip() for tag in steer.get("tags", "").split(","))))
    if len(tags) > _MOST_TAGS:
        raise _refuse("invalid_request", f"x-tiergate-tags names more than {_MOST_TAGS} tags.")
    return RequestOptions(
        lab=steer.get("lab") or None,
        tier=steer.get("tier") or None,
        cache=cache or _allowed(control),
        tags=tags,
        conversation=steer.get("conversation") or None,
        on_loss=on_loss,
        complete=None if complete is None else _COMPLETE[complete],
        stream_cost=stream_cost == "on",
    )


def _allowed(control: bytes) -> str | None:
    """Read what a client asks of all caches on the way (RFC 9111); it turns none on."""
    words = {word.strip() for word in control.split(b",")}
    return "off" if b"no-store" in words else "no-cache" if b"no-cache" in words else None


def _refuse(kind: Kind, message: str) -> ProblemError:
    return ProblemError(Problem(kind=kind, message=message))


def call(
    dialect: Dialect,
    head: RequestHeaders,
    key: Key,
    data: bytes,
    call_id: str,
    *,
    query: str = "",
    path: str = "",
) -> Call:
    """The Call of a request that was read whole."""
    return Call(
        id=call_id,
        dialect=dialect.name,
        operation=dialect.operation,
        body=data,
        path=path,
        query=query if query in dialect.queries else "",
        headers=head.forwarded,
        hints=head.hints,
        trace=head.trace,
        key=key,
        steer=head.steer,
        retried=head.retried,
        patience=head.patience,
        received_at=time.time(),
        started=time.monotonic(),
    )


def identify(keys: KeyTable, head: RequestHeaders) -> Key:
    """Return the key of a request.

    Raises ProblemError: invalid_api_key, invalid_request; rate_limited after many wrong keys.
    """
    if keys.is_open:
        return OPEN
    secrets = head.secrets
    if len(secrets) > 1:
        # Which of them counts must not depend on the order of headers, or on which is known.
        names = sorted(set(secrets.values()))
        if len(names) == 1:
            message = f"Two different keys came in {names[0]}: send one."
            raise _refuse("invalid_api_key", message)
        raise _refuse(
            "invalid_request", f"Two different keys came, in {' and '.join(names)}: send one."
        )
    secret = next(iter(secrets), "")
    if not secret:
        return keys.find(None)
    if head.digest is None:
        head.digest = hashed(secret)
    try:
        return keys.opened(head.digest)
    except ProblemError:
        keys.guesses.count(secret)
        raise


def crowded(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    """Whether there are more headers than anybody needs."""
    size = sum(len(name) + len(value) for name, value in headers)
    return size > MOST_HEADERS or len(headers) > _MOST_LINES
