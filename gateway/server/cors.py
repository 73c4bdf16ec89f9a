"""Web pages of other origins that may call (CORS): preflight answers and response headers.

A browser lets a page read an answer only if the answer names the page's origin. Before most
requests it sends a preflight with OPTIONS, without the page's key. The gateway's own pages and
figures are for no other origin.
"""

import re
from collections.abc import Sequence

from gateway.server.host_header import Headers, find_value
from gateway.server.request_headers import Message, Scope, Send
from gateway.settings.schema.server import WILDCARD

_OWN_PREFIXES = ("/admin", "/dashboard", "/metrics")
"""Prefixes of paths that no page of another origin may read."""
_ALLOWED_METHODS = b"DELETE, GET, HEAD, PATCH, POST, PUT"
_MAX_AGE_SECONDS = b"600"
"""Seconds that a browser may cache a preflight answer: the operator can remove an origin."""
_HEADER_NAMES = re.compile(rb"[\w!#$%&'*+.^`|~-]+(?:[ \t]*,[ \t]*[\w!#$%&'*+.^`|~-]+)*")
"""A list of header names, which are tokens as of RFC 9110 5.6.2."""
_EXPOSED_HEADERS = frozenset({b"x-request-id", b"request-id", b"retry-after", b"x-should-retry"})
"""Response headers that a page may read beside those with these prefixes."""
_EXPOSED_PREFIXES = (b"x-tiergate-", b"x-ratelimit-", b"anthropic-ratelimit-")


class CorsPolicy:
    """The origins that may call, each as a browser sends it, or `*` for all."""

    def __init__(self, origins: Sequence[str]) -> None:
        self._allows_any = WILDCARD in origins
        self._origins = frozenset(origin.lower().encode() for origin in origins)

    def find_origin(self, scope: Scope) -> bytes | None:
        """Return the origin of the calling page, if it may call; None for all other requests."""
        if not self._origins or scope["path"].startswith(_OWN_PREFIXES):
            return None
        origin = find_value(scope["headers"], b"origin")
        return origin if origin is not None and self.allows(origin) else None

    def allows(self, origin: bytes) -> bool:
        """True if the page of an origin may call."""
        return self._allows_any or origin.lower() in self._origins

    def build_preflight_answer(self, scope: Scope, origin: bytes) -> Headers | None:
        """Return the headers that answer a preflight; None if the request is no preflight."""
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
        """Return a `send` that adds the CORS headers to every answer."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [*message["headers"]]
                names = [
                    name
                    for name, _ in headers
                    if name.startswith(_EXPOSED_PREFIXES) or name in _EXPOSED_HEADERS
                ]
                expose_header = (b"access-control-expose-headers", b", ".join(names))
                message = {
                    **message,
                    "headers": [*headers, *self._build_origin_headers(origin), expose_header],
                }
            await send(message)

        return send_with_headers

    def _build_origin_headers(self, origin: bytes) -> Headers:
        """Return headers that name the page's origin. They allow cookies unless `*` is listed."""
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
