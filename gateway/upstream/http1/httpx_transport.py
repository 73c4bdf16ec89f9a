"""The stock transport for providers that need it: HTTP/2, SOCKS, another parser.

It is httpx's own (httpcore and h11), and costs many times the CPU of the gateway's own transport.
It speaks HTTP/2 if h2 is installed and the provider offers it; socks5:// proxies need socksio.
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
    """Return a transport for one provider. Raises ValueError if the proxy is not supported.

    It keeps no connection unless `max_idle` says so: if a server sends bytes after an answer,
    httpcore gives them to the next request. The transport changes `tls` (its ALPN), so nothing else
    may share it.
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
