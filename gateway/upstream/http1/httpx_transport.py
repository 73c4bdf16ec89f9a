"""The transport of another maker for providers that need it: HTTP/2, SOCKS, another parser.

httpx's own (httpcore and h11). It costs many times the CPU of the transport of our own. HTTP/2 is
spoken where h2 is installed and the provider offers it; socks5:// proxies need socksio.
"""

import ssl
from importlib.util import find_spec

import httpx


def create_httpx_transport(
    *,
    tls: ssl.SSLContext | None = None,
    proxy: str | None = None,
    proxy_tls: ssl.SSLContext | None = None,
    limit: int = 1000,
    max_idle: int = 0,
    keepalive_expiry: float = 30.0,
) -> httpx.AsyncBaseTransport:
    """A transport for one provider. Raises ValueError where the proxy cannot be spoken to.

    No connection is kept unless `max_idle` says so: httpcore gives what a server sends behind an
    answer to the next request. `tls` is changed (its ALPN): nothing else may share it.
    """
    httpx_proxy = None
    if proxy is not None:
        httpx_proxy = httpx.Proxy(proxy, ssl_context=proxy_tls)
        if httpx_proxy.url.scheme.startswith("socks") and find_spec("socksio") is None:
            raise ValueError("a socks5:// proxy needs socksio: pip install socksio")
    return httpx.AsyncHTTPTransport(
        verify=tls or httpx.create_ssl_context(trust_env=False),
        http1=True,
        http2=find_spec("h2") is not None,
        limits=httpx.Limits(
            max_connections=limit,
            max_keepalive_connections=max_idle,
            keepalive_expiry=keepalive_expiry,
        ),
        proxy=httpx_proxy,
        trust_env=False,
    )
