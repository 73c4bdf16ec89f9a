"""One client request, as it was received; never changed after."""

import msgspec

type Dialect = str
"""openai-chat, openai-responses, anthropic-messages or gemini."""


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """Who is calling: the name and tenant of a client's credential, and what it may ask for."""

    name: str
    tenant: str = "default"
    lab: str | None = None
    """The lab of bare tier names for this key."""
    tags: tuple[str, ...] = ()
    """Tags that its calls always carry."""
    allowed_tags: tuple[str, ...] | None = None
    """Tags that its calls may add; None is any."""
    labs: tuple[str, ...] | None = None
    tiers: tuple[str, ...] | None = None


OPEN = Key(name="open")
"""The key of every call where the configuration says `keys: open`."""


class Steer(msgspec.Struct, frozen=True, kw_only=True):
    """What the x-tiergate-* request headers ask for."""

    lab: str | None = None
    tier: str | None = None
    cache: str | None = None
    tags: tuple[str, ...] = ()
    conversation: str | None = None
    on_loss: str | None = None
    stream_cost: bool = False
    """The cost of a stream stands in a comment after its end."""


NO_STEER = Steer()


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One client request."""

    id: str
    dialect: Dialect
    operation: str
    """What is asked: "generate", "count_tokens"."""
    body: bytes
    path: str = ""
    """What of the request stands in its URL: "models/gemini-x:generateContent"."""
    query: str = ""
    """What of the query string goes on to a provider."""
    headers: dict[str, str] = {}
    """Client headers that go on to a provider, names in lower case."""
    trace: str | None = None
    """The client's W3C traceparent, as it came."""
    key: Key = OPEN
    steer: Steer = NO_STEER
    received_at: float
    """Seconds since the epoch."""
    started: float
    """Seconds on the monotonic clock."""
