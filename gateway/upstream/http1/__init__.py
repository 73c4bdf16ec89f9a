"""HTTP/1.1 towards providers: asyncio and httptools behind httpx's transport interface.

- transport: one for a set of providers; httpx requests in, httpx responses out
- request: one request as bytes, checked
- pool: the connections of one origin; idle ones newest first, a limit, a fair queue
- connect and happy_eyeballs: a connected, encrypted, tunnelled stream
- connection: one exchange at a time, bounded in memory and time
- response: one response as the parser reports it, checked; one chunk of a body without the parser
- httpx_transport: httpx's own transport, for providers that need it
- recording_transport: keeps one exchange on its way, for `tiergate doctor --live`
"""

from gateway.upstream.http1.connect import Connector, create_tls_context
from gateway.upstream.http1.connection import (
    DirectSink,
    ProviderConnection,
    StaleConnection,
    UnwrittenError,
    write_rows,
)
from gateway.upstream.http1.pool import ConnectionPool
from gateway.upstream.http1.request import Fields, encode_header_lines
from gateway.upstream.http1.response import IncomingResponse
from gateway.upstream.http1.transport import Http1Transport, PreparedRoute, ResponseBody

__all__ = [
    "ConnectionPool",
    "Connector",
    "DirectSink",
    "Fields",
    "Http1Transport",
    "IncomingResponse",
    "PreparedRoute",
    "ProviderConnection",
    "ResponseBody",
    "StaleConnection",
    "UnwrittenError",
    "create_tls_context",
    "encode_header_lines",
    "write_rows",
]  # fmt: skip
