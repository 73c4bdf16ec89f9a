"""Web pages of other origins that may call (CORS): answers to preflights, headers of answers.

A browser lets a page read an answer only where the answer names the page's origin. Before most
requests it asks with OPTIONS, without the page's key. The pages and figures of the gateway itself
are for no other origin.
"""

import re
from collections.abc import Sequence

from gateway.server.host_header import Headers, find_value
from gateway.server.request_headers import Message, Scope, Send
from gateway.settings.schema.server import WILDCARD

_OWN_PREFIXES = ("/admin", "/dashboard", "/metrics")
"""Beginnings of paths that no page of another origin may read."""
_ALLOWED_METHODS = b"DELETE, GET, HEAD, PATCH, POST, PUT"
_MAX_AGE_SECONDS = b"600"
"""Seconds that a browser may remember what it was told: an origin can be taken from the list."""
_HEADER_NAMES = re.compile(rb"[\w!#$%&'*+.^`|~-]+(?:[ \t]*,[ \t]*[\w!#$%&'*+.^`|~-]+)*")
"""A list of header names, as RFC 9110 5.6.2 has tokens."""
_EXPOSED_HEADERS = frozenset({b"x-request-id", b"request-id", b"retry-after", b"x-should-retry"})
"""Headers of an answer that a page may read beside `x-tiergate-*`."""
_OWN_HEADER_PREFIX = b"x-tiergate-"


class CorsPolicy:
    """Says it of a list of origins, each as a browser sends it, or `*`."""

    def __init__(self, origins: Sequence[str]) -> None:
        self._allows_any = WILDCARD in origins
        self._origins = frozenset(origin.lower().encode() for origin in origins)

    def find_origin(self, scope: Scope) -> bytes | None:
        """Return the origin of the page that asks, where it may; None of all other requests."""
        if not self._origins or scope["path"].startswith(_OWN_PREFIXES):
            return None
        origin = find_value(scope["headers"], b"origin")
        return origin if origin is not None and self.allows(origin) else None

    def allows(self, origin: bytes) -> bool:
        """True if the page of an origin may call."""
        return self._allows_any or origin.lower() in self._origins

    def build_preflight_answer(self, scope: Scope, origin: bytes) -> Headers | None:
        """Answer what a browser asks before a request; None of a request that is none of these."""
        headers = scope["headers"]
        method = find_value(headers, b"access-control-request-method")
        if scope["method"] != "OPTIONS" or method is None:
            return None
        answer_headers = [
            *self._build_origin_headers(origin),
            (b"access-control-allow-methods", _ALLOWED_METHODS),
        ]
        names = find_value(headers, b"access-control-request-headers")
        if names is not None and _HEADER_NAMES.fullmatch(names):
            answer_headers.append((b"access-control-allow-headers", names))
        return [*answer_headers, (b"access-control-max-age", _MAX_AGE_SECONDS)]

    def add_headers(self, send: Send, origin: bytes) -> Send:
        """Return what sends an answer that the page may read, whatever the answer is."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [*message["headers"]]
                names = [
                    name
                    for name, _ in headers
                    if name.startswith(_OWN_HEADER_PREFIX) or name in _EXPOSED_HEADERS
                ]
                expose_header = (b"access-control-expose-headers", b", ".join(names))
                message = {
                    **message,
                    "headers": [*headers, *self._build_origin_headers(origin), expose_header],
                }
            await send(message)

        return send_with_headers

    def _build_origin_headers(self, origin: bytes) -> Headers:
        """Name the page's origin; with cookies only where it stands in the list itself."""
        if self._allows_any:
            return [(b"access-control-allow-origin", WILDCARD.encode())]
        return [
            (b"access-control-allow-origin", origin),
            (b"access-control-allow-credentials", b"true"),
            (b"vary", b"origin"),
        ]


async def answer_preflight(headers: Headers, send: Send) -> None:
    """Send the answer to a preflight: headers alone."""
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
