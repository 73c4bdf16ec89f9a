"""Read a request's headers and turn them and the body into a Call, or refuse the request."""

import functools
import hashlib
import math
import os
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any
from urllib.parse import parse_qs

from fastapi import Request

from gateway.core.call import (
    NO_OPTIONS,
    OPEN_KEY,
    Call,
    CompleteMode,
    EscalateMode,
    Key,
    RequestOptions,
)
from gateway.core.clocks import SYSTEM_CLOCKS, Clocks
from gateway.core.errors import Problem, ProblemError, ProblemKind
from gateway.core.quality import MAX_POSITION, find_share
from gateway.dialects import DIALECTS, Dialect
from gateway.dialects.translation import get_translation
from gateway.limits.keys import KeyTable, TokenUser, hash_secret
from gateway.upstream.client import HOP_HEADER

type Scope = MutableMapping[str, Any]
type Message = MutableMapping[str, Any]
type Receive = Callable[[], Awaitable[Message]]
type Send = Callable[[Message], Awaitable[None]]

_SECRET_HEADERS = (b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key")
_IDEMPOTENCY_HEADER = "idempotency-key"
_OPTION_PREFIX = b"x-tiergate-"
_HOP_HEADER = HOP_HEADER.encode()
_RETRY_COUNT_HEADER = b"x-stainless-retry-count"
_CACHE_CONTROL_HEADER = b"cache-control"
_TRACE_HEADER = b"traceparent"
_BETA_HEADERS = frozenset(
    get_translation(dialect).beta_header.name.encode() for dialect in DIALECTS.values()
)
"""Headers with a list of words: a client may spread it over several lines."""
_HINT_HEADERS = frozenset(
    {
        _RETRY_COUNT_HEADER,
        b"x-stainless-read-timeout",
        b"x-stainless-timeout",
        _CACHE_CONTROL_HEADER,
    }
)
"""Headers that the official SDKs send about themselves (times in seconds), and cache-control."""
_CLUE_HEADERS = frozenset(
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
"""Headers that agents and chat applications send about themselves and the conversation."""
_MAX_CLUE_BYTES = 200
"""The number of bytes kept of such a header."""
MAX_HEADER_BYTES = 16_384
"""The maximum size of a request's headers, in bytes."""
_MAX_HEADERS = 100
_TOKEN_DOTS = 2
_MAX_TAGS = 16
_CACHE_OPTIONS = (None, "on", "off", "refresh", "exact")
_COMPLETE_OPTIONS: Mapping[str, CompleteMode] = {"on": "hold", "hold": "hold", "off": "off"}
_ESCALATE_OPTIONS: Mapping[str, EscalateMode] = {
    "on": "checked", "checked": "checked", "watch": "watch", "off": "off",
}  # fmt: skip
_MAX_NUMBER_BYTES = 9
"""The maximum number of bytes of a number in a header."""
TOO_MANY_HEADERS = Problem(
    kind="invalid_request",
    message=f"The headers are more than {_MAX_HEADERS} or {MAX_HEADER_BYTES:,} bytes.",
    status=431,
)


def new_id() -> str:
    """Return a new id for a call: ordered by time, and unique without coordination."""
    try:
        suffix = _id_suffixes.pop()
    except IndexError:
        random_hex = os.urandom(6 * _IDS_PER_READ).hex()
        _id_suffixes.extend(
            random_hex[index : index + 12] for index in range(12, len(random_hex), 12)
        )
        suffix = random_hex[:12]
    return f"tg-{time.time_ns() // 1_000_000:011x}{suffix}"


_IDS_PER_READ = 256
_id_suffixes: list[str] = []
"""Random ends of ids. The system makes many at once."""
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_id_suffixes.clear)


@functools.cache
def _classify_headers(forwarded: frozenset[bytes]) -> Mapping[bytes, str]:
    """Return the meaning of each known header, for a dialect that forwards some."""
    return {
        **dict.fromkeys(_CLUE_HEADERS, "clue"),
        b"content-encoding": "coding",
        _TRACE_HEADER: "trace",
        **dict.fromkeys(_HINT_HEADERS, "hint"),
        b"content-length": "length",
        **dict.fromkeys(forwarded, "forwarded"),
        **dict.fromkeys(_SECRET_HEADERS, "secret"),
    }


class RequestHeaders:
    """The parsed headers of a request."""

    __slots__ = (
        "cache_control",
        "client_timeout",
        "end_user",
        "forwarded",
        "hints",
        "length",
        "options",
        "retry_count",
        "secret_digest",
        "secrets",
        "token_user",
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
        self.cache_control = b""
        """The directives of the client for caches (cache-control)."""
        self.retry_count = 0
        """The number of times that the client has already tried this request."""
        self.client_timeout: float | None = None
        """Seconds after which the client stops waiting; None if unknown."""
        secret_headers: list[tuple[bytes, bytes]] = []
        options: dict[str, str] = {}
        size = 0
        meanings = _classify_headers(forwarded)
        for name, value in headers:
            size += len(name) + len(value)
            meaning = meanings.get(name)
            if meaning is None:
                if name.startswith(_OPTION_PREFIX):
                    if name == _HOP_HEADER:
                        message = "This request has already passed through this gateway."
                        raise _refuse("loop", message)
                    options[name[len(_OPTION_PREFIX) :].decode("latin-1")] = _decode_text(
                        value
                    ).strip()
                continue
            if name in _CLUE_HEADERS:
                self.hints[name.decode()] = value[:_MAX_CLUE_BYTES].decode("latin-1")
            if meaning == "secret":
                secret_headers.append((name, value))
            elif meaning == "length":
                self.length = int(value) if value.isdigit() else None
            elif meaning != "clue":
                self._read_header(meaning, name, value)
        if size > MAX_HEADER_BYTES or len(headers) > _MAX_HEADERS:
            raise ProblemError(TOO_MANY_HEADERS)
        self.secrets = _collect_secrets(secret_headers) if secret_headers else {}
        self.secret_digest: bytes | None = None
        """The hash of the secret, kept once computed: the same head may come again."""
        self.end_user = options.pop("user", "") if options else ""
        """The end user that the client names (x-tiergate-user)."""
        self.token_user: TokenUser | None = None
        """The end user of the client's token; None without a token."""
        self.options = (
            _parse_options(options, self.cache_control)
            if options or self.cache_control
            else NO_OPTIONS
        )

    def _read_header(self, meaning: str, name: bytes, value: bytes) -> None:
        """Read a header that few clients send. Raises ProblemError."""
        if meaning == "forwarded":
            if not value.isascii():
                raise _refuse("invalid_request", f"The header {name.decode()} is not ASCII.")
            key, text = name.decode(), value.decode()
            if name in _BETA_HEADERS and key in self.forwarded:
                text = f"{self.forwarded[key]},{text}"
            self.forwarded[key] = text
            if name == _TRACE_HEADER:
                self.trace = value.decode()
        elif meaning == "hint":
            self._read_hint(name, value)
        elif meaning == "trace":
            self.trace = value.decode("latin-1") or None
        elif value.strip().lower() != b"identity":
            raise _refuse("media_type", "Send the body without a content-encoding.")

    def _read_hint(self, name: bytes, value: bytes) -> None:
        """Read a header of an SDK. Ignore a value that is no number."""
        if name == _CACHE_CONTROL_HEADER:
            self.cache_control += value.lower() + b","
        elif name == _RETRY_COUNT_HEADER:
            self.retry_count = int(value[:_MAX_NUMBER_BYTES]) if value.isdigit() else 0
        else:
            self.client_timeout = _min_timeout(self.client_timeout, value)

    def add_query_key(self, query: bytes) -> None:
        """Add the key in the URL of a Gemini request, if there is one."""
        for value in parse_qs(query.decode("latin-1")).get("key", []):
            self.secrets.setdefault(value, "the URL")


def _decode_text(value: bytes) -> str:
    """Decode a text as UTF-8, as most clients send it, or else as Latin-1 (RFC 9110 5.5)."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _collect_secrets(secret_headers: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return the different secrets, each with the name of its header."""
    secrets: dict[str, str] = {}
    for name, value in secret_headers:
        text = value.decode("latin-1").strip()
        scheme, _, credentials = text.partition(" ")
        secrets.setdefault(
            credentials.strip() if scheme.lower() == "bearer" else text, name.decode()
        )
    return secrets


def _min_timeout(current: float | None, value: bytes) -> float | None:
    """Return the shorter of two timeouts, in seconds. Ignore an invalid value."""
    try:
        seconds = float(value[:_MAX_NUMBER_BYTES])
    except ValueError:
        return current
    if not 0 < seconds < math.inf:
        return current
    return seconds if current is None else min(current, seconds)


def _parse_options(options: dict[str, str], cache_control: bytes = b"") -> RequestOptions:
    cache, on_loss = options.get("cache") or None, options.get("on-loss")
    if cache not in _CACHE_OPTIONS:
        raise _refuse("invalid_request", "x-tiergate-cache must be on, off, refresh or exact.")
    if on_loss not in (None, "refuse", "drop-and-tell"):
        raise _refuse("invalid_request", "x-tiergate-on-loss must be refuse or drop-and-tell.")
    complete = options.get("complete")
    if complete is not None and complete not in _COMPLETE_OPTIONS:
        hint = " `live` is no longer served: send hold, or leave it out." * (complete == "live")
        raise _refuse("invalid_request", f"x-tiergate-complete must be on, hold or off.{hint}")
    escalate = options.get("escalate")
    if escalate is not None and escalate not in _ESCALATE_OPTIONS:
        raise _refuse("invalid_request", "x-tiergate-escalate must be on, checked, watch or off.")
    quality = options.get("quality")
    try:
        quality_share = None if quality is None else find_share(float(quality))
    except ValueError:
        message = f"x-tiergate-quality must be a number from 0 to {MAX_POSITION}."
        raise _refuse("invalid_request", message) from None
    stream_cost = options.get("stream-cost")
    if stream_cost not in (None, "on", "off"):
        raise _refuse("invalid_request", "x-tiergate-stream-cost must be on or off.")
    tags = tuple(filter(None, (tag.strip() for tag in options.get("tags", "").split(","))))
    if len(tags) > _MAX_TAGS:
        raise _refuse("invalid_request", f"x-tiergate-tags names more than {_MAX_TAGS} tags.")
    return RequestOptions(
        lab=options.get("lab") or None,
        tier=options.get("tier") or None,
        cache=cache or _parse_cache_control(cache_control),
        tags=tags,
        conversation=options.get("conversation") or None,
        on_loss=on_loss,
        complete=None if complete is None else _COMPLETE_OPTIONS[complete],
        escalate=None if escalate is None else _ESCALATE_OPTIONS[escalate],
        quality=quality_share,
        stream_cost=stream_cost == "on",
    )


def _parse_cache_control(cache_control: bytes) -> str | None:
    """Read the client's directives for all caches on the way (RFC 9111); none turns a cache on."""
    directives = {directive.strip() for directive in cache_control.split(b",")}
    return "off" if b"no-store" in directives else "no-cache" if b"no-cache" in directives else None


def _refuse(kind: ProblemKind, message: str) -> ProblemError:
    return ProblemError(Problem(kind=kind, message=message))


def _separate_idempotency_key(forwarded: dict[str, str], key: Key) -> dict[str, str]:
    """Return the forwarded headers with an idempotency key that no other client key can send.

    A provider answers a repeated idempotency key of its account with its former answer, whichever
    client key of the gateway asks.
    """
    named = f"{key.tenant}\0{key.name}\0{forwarded[_IDEMPOTENCY_HEADER]}".encode()
    return {**forwarded, _IDEMPOTENCY_HEADER: hashlib.sha256(named).hexdigest()}


def build_call(
    dialect: Dialect,
    headers: RequestHeaders,
    key: Key,
    data: bytes,
    call_id: str,
    *,
    query: str = "",
    path: str = "",
    clocks: Clocks = SYSTEM_CLOCKS,
) -> Call:
    """Build the Call of a request that has been read whole."""
    end_user, default_end_user, token_user = headers.end_user, "", headers.token_user
    if token_user is not None and token_user.is_fixed:
        end_user = token_user.id
    elif token_user is not None:
        default_end_user = token_user.id
    forwarded = headers.forwarded
    if _IDEMPOTENCY_HEADER in forwarded and key is not OPEN_KEY:
        forwarded = _separate_idempotency_key(forwarded, key)
    return Call(
        call_id,
        dialect.name,
        dialect.operation,
        data,
        clocks.wall(),
        clocks.monotonic(),
        path=path,
        query=query if query in dialect.forwarded_queries else "",
        headers=forwarded,
        hints=headers.hints,
        trace=headers.trace,
        key=key,
        options=headers.options,
        end_user=end_user,
        default_end_user=default_end_user,
        retry_count=headers.retry_count,
        client_timeout=headers.client_timeout,
    )


def identify_caller(keys: KeyTable, request: Request) -> Key:
    """Return the key of a request of which only the key matters. Raises as `identify`."""
    return identify(keys, RequestHeaders(request.headers.raw))


def identify(keys: KeyTable, headers: RequestHeaders) -> Key:
    """Return the key of a request.

    Raises ProblemError: invalid_api_key, invalid_request; rate_limited after many wrong keys.
    """
    if keys.is_open:
        return OPEN_KEY
    secrets = headers.secrets
    if len(secrets) > 1:
        # The choice must not depend on the order of the headers, or on which key is known.
        names = sorted(set(secrets.values()))
        if len(names) == 1:
            message = f"The request has two different keys in {names[0]}: send one."
            raise _refuse("invalid_api_key", message)
        raise _refuse(
            "invalid_request",
            f"The request has two different keys, in {' and '.join(names)}: send one.",
        )
    secret = next(iter(secrets), "")
    if not secret:
        return keys.find(None)
    if headers.secret_digest is None:
        headers.secret_digest = hash_secret(secret)
    try:
        key = keys.find_by_hash(headers.secret_digest)
    except ProblemError as error:
        may_be_token = keys.takes_tokens and looks_like_token(secret)
        if error.problem.kind == "invalid_api_key" and not may_be_token:
            keys.wrong_key_counter.count(secret)
        raise
    if keys.takes_tokens:
        token = keys.find_token(headers.secret_digest)
        headers.token_user = None if token is None else token.end_user
    return key


def looks_like_token(secret: str) -> bool:
    """True if a secret has the form of a signed token (JWT): three parts, the first an object."""
    return secret.startswith("eyJ") and secret.count(".") == _TOKEN_DOTS


def has_too_many_headers(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    """True if there are more or longer headers than any client needs."""
    size = sum(len(name) + len(value) for name, value in headers)
    return size > MAX_HEADER_BYTES or len(headers) > _MAX_HEADERS
