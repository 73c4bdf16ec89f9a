"""Web pages of other origins that may call (CORS): answers to preflights, headers of answers.

A browser lets a page read an answer only where the answer names the page's origin. Before most
requests it asks with OPTIONS, without the page's key. The pages and figures of the gateway itself
are for no other origin.
"""

import re
from collections.abc import Sequence

from gateway.server.host_header import Headers, value_of
from gateway.server.request_headers import Message, Scope, Send
from gateway.settings.schema.server import ANY

_OWN = ("/admin", "/dashboard", "/metrics")
"""Beginnings of paths that no page of another origin may read."""
_METHODS = b"DELETE, GET, HEAD, PATCH, POST, PUT"
_LASTS = b"600"
"""Seconds that a browser may remember what it was told: an origin can be taken from the list."""
_NAMES = re.compile(rb"[\w!#$%&'*+.^`|~-]+(?:[ \t]*,[ \t]*[\w!#$%&'*+.^`|~-]+)*")
"""A list of header names, as RFC 9110 5.6.2 has tokens."""
_TOLD = frozenset({b"x-request-id", b"request-id", b"retry-after", b"x-should-retry"})
"""Headers of an answer that a page may read beside `x-tiergate-*`."""
_OUR = b"x-tiergate-"


class CorsPolicy:
    """Says it of a list of origins, each as a browser sends it, or `*`."""

    def __init__(self, origins: Sequence[str]) -> None:
        self._any = ANY in origins
        self._origins = frozenset(one.lower().encode() for one in origins)

    def origin(self, scope: Scope) -> bytes | None:
        """Return the origin of the page that asks, where it may; None of all other requests."""
        if not self._origins or scope["path"].startswith(_OWN):
            return None
        origin = value_of(scope["headers"], b"origin")
        return origin if origin is not None and self.lists(origin) else None

    def lists(self, origin: bytes) -> bool:
        """True if the page of an origin may call."""
        return self._any or origin.lower() in self._origins

    def preflight(self, scope: Scope, origin: bytes) -> Headers | None:
        """Answer what a browser asks before a request; None of a request that is none of these."""
        headers = scope["headers"]
        method = value_of(headers, b"access-control-request-method")
        if scope["method"] != "OPTIONS" or method is None:
            return None
        told = [*self._named(origin), (b"access-control-allow-methods", _METHODS)]
        names = value_of(headers, b"access-control-request-headers")
        if names is not None and _NAMES.fullmatch(names):
            told.append((b"access-control-allow-headers", names))
        return [*told, (b"access-control-max-age", _LASTS)]

    def telling(self, send: Send, origin: bytes) -> Send:
        """Return what sends an answer that the page may read, whatever the answer is."""

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [*message["headers"]]
                names = [name for name, _ in headers if name.startswith(_OUR) or name in _TOLD]
                exposed = (b"access-control-expose-headers", b", ".join(names))
                message = {**message, "headers": [*headers, *self._named(origin), exposed]}
            await send(message)

        return told

    def _named(self, origin: bytes) -> Headers:
        """Name the page's origin; with cookies only where it stands in the list itself."""
        if self._any:
            return [(b"access-control-allow-origin", ANY.encode())]
        return [
            (b"access-control-allow-origin", origin),
            (b"access-control-allow-credentials", b"true"),
            (b"vary", b"origin"),
        ]


async def answer(headers: Headers, send: Send) -> None:
    """Send the answer to a preflight: headers alone."""
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
