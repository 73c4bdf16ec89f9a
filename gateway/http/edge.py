"""The edge: headers and bytes of a request made into a Call, or refused before they are one."""

import os
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any

from gateway.core.call import NO_STEER, Call, Key, Steer
from gateway.core.problem import Kind, Problem, ProblemError
from gateway.dialects import Dialect
from gateway.limits.keys import Keys
from gateway.upstream.client import HOP

type Scope = MutableMapping[str, Any]
type Message = MutableMapping[str, Any]
type Receive = Callable[[], Awaitable[Message]]
type Send = Callable[[Message], Awaitable[None]]

_SECRETS = (b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key")
_STEER = b"x-tiergate-"
_HOP = HOP.encode()
_MOST_HEADERS = 16_384
"""Bytes."""
_MOST_LINES = 100
_MOST_TAGS = 16


class Gone(Exception):
    """The client has left."""


def new_id() -> str:
    """An id of a call: time-ordered, unique without coordination."""
    return f"tg-{time.time_ns() // 1_000_000:011x}{os.urandom(6).hex()}"


class Head:
    """What the headers of a request say."""

    __slots__ = ("forwarded", "length", "secret", "steer")

    def __init__(
        self,
        headers: Sequence[tuple[bytes, bytes]],
        forwarded: frozenset[bytes] = frozenset(),
        defaults: Mapping[str, str] = {},
    ) -> None:
        """Read headers. Raises ProblemError: loop, media_type, invalid_request."""
        self.forwarded: dict[str, str] = dict(defaults)
        self.length: int | None = None
        found: dict[bytes, bytes] = {}
        steer: dict[str, str] = {}
        size = 0
        for name, value in headers:
            size += len(name) + len(value)
            if name in _SECRETS:
                found[name] = value
            elif name in forwarded:
                if not value.isascii():
                    raise _refuse("invalid_request", f"The header {name.decode()} is not ASCII.")
                self.forwarded[name.decode()] = value.decode()
            elif name.startswith(_STEER):
                if name == _HOP:
                    raise _refuse("loop", "This request has already passed through this gateway.")
                steer[name[len(_STEER) :].decode("latin-1")] = value.decode("latin-1").strip()
            elif name == b"content-length":
                self.length = int(value) if value.isdigit() else None
            elif name == b"content-encoding" and value.strip().lower() != b"identity":
                raise _refuse("media_type", "Send the body without a content-encoding.")
        if size > _MOST_HEADERS or len(headers) > _MOST_LINES:
            message = f"The headers are more than {_MOST_LINES} or {_MOST_HEADERS:,} bytes."
            raise ProblemError(Problem(kind="invalid_request", message=message, status=431))
        self.secret = _secret(found)
        self.steer = _steer(steer) if steer else NO_STEER


def _secret(found: dict[bytes, bytes]) -> str | None:
    for name in _SECRETS:
        value = found.get(name)
        if value is not None:
            text = value.decode("latin-1").strip()
            scheme, _, rest = text.partition(" ")
            return rest.strip() if scheme.lower() == "bearer" else text
    return None


def _steer(steer: dict[str, str]) -> Steer:
    cache, on_loss = steer.get("cache"), steer.get("on-loss")
    if cache not in (None, "off", "refresh"):
        raise _refuse("invalid_request", "x-tiergate-cache is off or refresh.")
    if on_loss not in (None, "refuse", "drop-and-tell"):
        raise _refuse("invalid_request", "x-tiergate-on-loss is refuse or drop-and-tell.")
    tags = tuple(filter(None, (tag.strip() for tag in steer.get("tags", "").split(","))))
    if len(tags) > _MOST_TAGS:
        raise _refuse("invalid_request", f"x-tiergate-tags names more than {_MOST_TAGS} tags.")
    return Steer(
        lab=steer.get("lab") or None,
        tier=steer.get("tier") or None,
        cache=cache,
        tags=tags,
        conversation=steer.get("conversation") or None,
        on_loss=on_loss,
    )


def _refuse(kind: Kind, message: str) -> ProblemError:
    return ProblemError(Problem(kind=kind, message=message))


async def body(receive: Receive, length: int | None, most: int) -> bytes:
    """Read a request's body. Raises ProblemError: request_too_large; Gone where the client left."""
    if length is not None and length > most:
        raise _too_large(most)
    message = await receive()
    if message["type"] == "http.disconnect":
        raise Gone
    data: bytes = message.get("body", b"")
    if not message.get("more_body", False) and len(data) <= most:
        return data
    parts, size = [data], len(data)
    while message.get("more_body", False):
        if size > most:
            raise _too_large(most)
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        parts.append(message.get("body", b""))
        size += len(parts[-1])
    if size > most:
        raise _too_large(most)
    return b"".join(parts)


def _too_large(most: int) -> ProblemError:
    message = f"The request body is larger than {most:,} bytes."
    return ProblemError(Problem(kind="request_too_large", message=message))


def call(
    dialect: Dialect, head: Head, key: Key, data: bytes, call_id: str, query: str = ""
) -> Call:
    """The Call of a request that was read whole."""
    return Call(
        id=call_id,
        dialect=dialect.name,
        operation=dialect.operation,
        body=data,
        query=query if query in dialect.queries else "",
        headers=head.forwarded,
        key=key,
        steer=head.steer,
        received_at=time.time(),
        started=time.monotonic(),
    )


def identify(keys: Keys, head: Head) -> Key:
    """The key of a request. Raises ProblemError: invalid_api_key."""
    return keys.find(head.secret)
