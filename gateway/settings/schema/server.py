"""Server settings: address, admission, client timeouts and shutdown.

Also the timers of an attempt, which are set by tier or for one provider.
"""

import re
from ipaddress import IPv6Address
from math import inf
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field

from gateway.settings.schema.base import STRICT_CONFIG, ByteSize, Duration, Words, parse_duration

type TimerKind = Literal["fast", "smart", "reasoning", "embeddings"]
"""A tier, or the operation `embeddings`, which has no tier."""


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
"""Seconds; None (`p95`) stands for the time that 95 % of answers take."""


class TimersPart(BaseModel):
    """Seconds for each step of an attempt.

    A provider's timer wins over that of the tier, which wins over the default.
    """

    model_config = STRICT_CONFIG

    pool: Duration | None = None
    """Seconds until a connection to the provider is free."""
    connect: Duration | None = None
    headers: Duration | None = None
    whole_headers: Duration | None = None
    """Seconds until the head of a whole answer, which comes once all of it is written."""
    first_content: Duration | None = None
    idle: Duration | None = None
    total: Duration | None = None


WILDCARD = "*"
"""Stands for every origin, or for every host name."""

type WaitSeconds = Annotated[float, BeforeValidator(parse_duration), Field(gt=0, le=86_400)]
"""Seconds above 0, at most one day (86,400): no wait is endless."""


_ORIGIN_PATTERN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s/?#@*]+")


def _check_origins(value: list[str]) -> list[str]:
    """Check that each value is an origin, or that `*` stands alone. Raises ValueError."""
    if WILDCARD in value and len(value) > 1:
        raise ValueError("`*` is every origin, and stands alone")
    for origin in value:
        if origin != WILDCARD and not _ORIGIN_PATTERN.fullmatch(origin):
            hint = "as https://app.example or http://localhost:5173, without a path"
            raise ValueError(f"{origin!r} must be an origin, {hint}")
    return value


type Origins = Annotated[Words, AfterValidator(_check_origins)]

_HOST_NAME_PATTERN = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?")
"""Matches host names. IPv4 addresses look the same, so it matches them too."""


def _is_host_name(text: str) -> bool:
    """Return True if a text is a host name or an IP address, with or without brackets."""
    if _HOST_NAME_PATTERN.fullmatch(text):
        return True
    try:
        IPv6Address(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def _check_host_names(value: list[str]) -> list[str]:
    """Check that each value is a name or address, or that `*` stands alone. Raises ValueError."""
    if WILDCARD in value and len(value) > 1:
        raise ValueError("`*` is every name, and stands alone")
    for name in value:
        if name != WILDCARD and not _is_host_name(name):
            hint = "as gateway.internal or 192.168.1.5, without a scheme and a port"
            raise ValueError(f"{name!r} must be a name or an address, {hint}")
    return value


type HostNames = Annotated[Words, AfterValidator(_check_host_names)]


class WaitPart(BaseModel):
    """Seconds that the gateway waits for a client."""

    model_config = STRICT_CONFIG

    head: WaitSeconds = 10.0
    """Seconds for the whole head of a request, also for the first on a new connection."""
    body: WaitSeconds = 30.0
    """Seconds for the body of a request; each `body_rate` bytes that arrive add one second."""
    body_rate: Annotated[ByteSize, Field(ge=1)] = 10_000
    idle: WaitSeconds = 75.0
    """Seconds until the next request on a connection that was used before."""
    read: WaitSeconds = 60.0
    """Seconds in which a client must take 16 KiB (16,384 bytes) of its answer while more waits."""


class ServerPart(BaseModel):
    """Settings of the server: its address, what it accepts, and how it stops."""

    model_config = STRICT_CONFIG

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8484
    max_body: ByteSize = 32_000_000
    """The largest request body that the gateway reads whole, in bytes."""
    max_upload: ByteSize = 2_200_000_000
    """The largest body that the gateway passes on in pieces, in bytes: by default a little more
    than the largest file that a provider takes (Gemini: 2 GiB)."""
    max_values: Annotated[int, Field(ge=1)] = 200_000
    """The most JSON values and names of members in a request body.

    Embeddings may have twice as many, for token ids."""
    in_flight: Annotated[int, Field(ge=1)] = 512
    """The most calls at the same time in each worker; the gateway refuses more with 503 (529)."""
    connections: Annotated[int, Field(ge=1)] | None = None
    """The most client connections of each worker. Unset, it follows from the files that the process
    may open."""
    max_memory: ByteSize | None = None
    """The most memory of all workers together, in bytes. Unset, it is the machine's memory; a
    container's limit counts in any case."""
    max_lag: Duration = 1.0
    """Seconds that the event loop may be late before the gateway refuses all calls; `0s` turns this
    off."""
    cors: Origins = []
    """Origins of web pages that may call, or `*` alone; empty allows none."""
    hosts: HostNames = []
    """Host names by which clients may reach the gateway while `keys` is open, or `*` alone."""
    open: bool = False
    """True if the gateway may listen beyond this machine although `keys` is open."""
    workers: Annotated[int, Field(ge=1)] = 1
    """The number of processes that share the port and the data folder; `in_flight` applies to
    each."""
    hang: Duration = 30.0
    """Seconds without activity after which the supervisor replaces one of several workers; `0s`:
    never."""
    lb_delay: Duration = 3.0
    """Seconds after SIGTERM in which the gateway still accepts calls while `/ready` says no."""
    drain: WaitSeconds = 25.0
    """Seconds from SIGTERM until the process has ended; the gateway ends calls that still run
    before that."""
    timeouts: WaitPart = WaitPart.model_construct()
