"""Where the gateway listens, what it takes in, how long it waits, and how it ends.

How long the steps of an attempt may take, as it is written: by tier, or for one provider.
"""

import re
from ipaddress import IPv6Address
from math import inf
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field

from gateway.settings.schema.base import STRICT_CONFIG, ByteSize, Duration, Words, parse_duration

type TimerKind = Literal["fast", "smart", "reasoning", "embeddings"]
"""A tier, or the operation that is of none."""


def _parse_hedge_delay(value: object) -> float | None:
    if value == "p95":
        return None
    try:
        seconds = float(str(parse_duration(value)))
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < inf:
        raise ValueError("must be p95, or a duration above 0, as 800ms")
    return seconds


type HedgeDelay = Annotated[float | None, BeforeValidator(_parse_hedge_delay)]
"""Seconds; None where it is what 95 % of answers take."""


class TimersPart(BaseModel):
    """Seconds of each step of an attempt; unset takes what stands before it."""

    model_config = STRICT_CONFIG

    pool: Duration | None = None
    """Until a connection is free."""
    connect: Duration | None = None
    headers: Duration | None = None
    first_content: Duration | None = None
    idle: Duration | None = None
    total: Duration | None = None


WILDCARD = "*"
"""Every origin, or every name."""

type WaitSeconds = Annotated[float, BeforeValidator(parse_duration), Field(gt=0, le=86_400)]
"""Seconds; there is no waiting for ever."""


_ORIGIN_PATTERN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s/?#@*]+")


def _check_origins(value: list[str]) -> list[str]:
    """Check that each is an origin. Raises ValueError."""
    if WILDCARD in value and len(value) > 1:
        raise ValueError("`*` is every origin, and stands alone")
    for origin in value:
        if origin != WILDCARD and not _ORIGIN_PATTERN.fullmatch(origin):
            hint = "as https://app.example or http://localhost:5173, without a path"
            raise ValueError(f"{origin!r} must be an origin, {hint}")
    return value


type Origins = Annotated[Words, AfterValidator(_check_origins)]

_HOST_NAME_PATTERN = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?")
"""Addresses of IPv4 look the same."""


def _is_host_name(text: str) -> bool:
    """True if it is a host's name or an address, in brackets or not."""
    if _HOST_NAME_PATTERN.fullmatch(text):
        return True
    try:
        IPv6Address(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def _check_host_names(value: list[str]) -> list[str]:
    """Check that each is a name or an address. Raises ValueError."""
    if WILDCARD in value and len(value) > 1:
        raise ValueError("`*` is every name, and stands alone")
    for name in value:
        if name != WILDCARD and not _is_host_name(name):
            hint = "as gateway.internal or 192.168.1.5, without a scheme and a port"
            raise ValueError(f"{name!r} must be a name or an address, {hint}")
    return value


type HostNames = Annotated[Words, AfterValidator(_check_host_names)]


class WaitPart(BaseModel):
    """How long a client is waited for."""

    model_config = STRICT_CONFIG

    head: WaitSeconds = 10.0
    """The whole head of a request, also the first on a new connection."""
    body: WaitSeconds = 30.0
    """Its body, and a second more for each `body_rate` bytes of it that have come."""
    body_rate: Annotated[ByteSize, Field(ge=1)] = 10_000
    idle: WaitSeconds = 75.0
    """The next request on a connection that was used."""
    read: WaitSeconds = 60.0
    """A client that takes nothing of its answer."""


class ServerPart(BaseModel):
    """Where the gateway listens, and how much it takes in."""

    model_config = STRICT_CONFIG

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8484
    max_body: ByteSize = 32_000_000
    max_values: Annotated[int, Field(ge=1)] = 200_000
    """JSON values in the body of a request; twice as many in one for embeddings, of token ids."""
    in_flight: Annotated[int, Field(ge=1)] = 512
    """Calls at a time; more are told to come back."""
    connections: Annotated[int, Field(ge=1)] | None = None
    """Of clients at a time; unset goes by the files that the process may have open."""
    max_memory: ByteSize | None = None
    """Bytes of all workers together; unset is all that there is, or that its container may have."""
    max_lag: Duration = 1.0
    """How late the event loop may be before all calls are refused; `0s` does not look."""
    cors: Origins = []
    """Origins of web pages that may call, or `*` alone; empty is none."""
    hosts: HostNames = []
    """Names by which clients reach the gateway while `keys` is open, or `*` alone."""
    open: bool = False
    """Listen beyond this machine although `keys` is open."""
    workers: Annotated[int, Field(ge=1)] = 1
    """Processes that share the port and the data folder; `in_flight` is of each."""
    hang: Duration = 30.0
    """How long a worker may give no sign of life before it is replaced; `0s` lets it be."""
    lb_delay: Duration = 3.0
    """After SIGTERM, how long calls are still taken while `/ready` says no."""
    drain: WaitSeconds = 25.0
    """From SIGTERM until the process has ended; calls that still run then are ended before."""
    timeouts: WaitPart = WaitPart()
