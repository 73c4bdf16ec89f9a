"""An httpx transport over aiohttp: the stock client with the least cost, behind httpx's own door.

Errors are httpx's and tell the truth: a retry depends on whether the request can have been read.
Redirects are not followed, nothing is decompressed, cookies are not kept. HTTP/1.1 only. A proxy is
given by whoever makes it: to let the library look for one would scan the environment every time.
"""

import asyncio
import io
import ssl
from collections.abc import AsyncIterator, Iterable

import aiohttp
import httpx
from aiohttp import ClientConnectorError, ClientSession, TCPConnector
from yarl import URL

_CHUNK = 1 << 16
_LARGE = 1 << 20
"""Bytes from which a body is sent piece by piece, so that it does not hold up the loop."""


class Transport(httpx.AsyncBaseTransport):
    """Sends requests over pooled connections. It has no time limits: attempts bring their own."""

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        proxy: str | None = None,
        limit_per_host: int = 1000,
    ) -> None:
        self._tls = tls
        self._proxy = proxy
        self._limit = limit_per_host
        self._session: ClientSession | None = None

    def _open(self) -> ClientSession:
        """The session, made inside the running loop at the first request."""
        if self._session is None:
            connector = TCPConnector(
                limit=0,
                limit_per_host=self._limit,
                ssl=self._tls or True,
                keepalive_timeout=30,
                enable_cleanup_closed=False,
            )
            self._session = ClientSession(
                connector=connector,
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=None, sock_read=None),
                trust_env=False,
                read_bufsize=_CHUNK,
            )
        return self._session

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; return as soon as the response's headers are there."""
        session = self._open()
        data = await request.aread()
        try:
            answer = await session.request(
                request.method,
                URL(str(request.url), encoded=True),
                data=io.BytesIO(data) if len(data) > _LARGE else data,
                headers=_headers(request.headers.raw),
                allow_redirects=False,
                proxy=self._proxy,
                timeout=_timeout(request),
            )
        except ClientConnectorError as error:
            raise httpx.ConnectError(_reason(error)) from error
        except aiohttp.ClientHttpProxyError as error:  # it made no tunnel
            raise httpx.ProxyError(_reason(error)) from error
        except aiohttp.ConnectionTimeoutError as error:
            raise httpx.ConnectTimeout(_reason(error)) from error
        except (aiohttp.InvalidURL, ValueError) as error:  # refused before anything was sent
            raise httpx.LocalProtocolError(_reason(error)) from error
        except (aiohttp.ClientError, OSError) as error:
            raise httpx.ReadError(_reason(error)) from error
        return httpx.Response(answer.status, headers=answer.raw_headers, stream=_Body(answer))

    async def aclose(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None


class _Body(httpx.AsyncByteStream):
    """The bytes of an answer as they arrive; a body cut short is an error, never an end."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for data in self._answer.content.iter_any():
                yield data
        except aiohttp.ClientPayloadError as error:
            raise httpx.RemoteProtocolError("the answer was cut short") from error
        except (aiohttp.ClientError, OSError) as error:
            raise httpx.ReadError(_reason(error)) from error

    async def aclose(self) -> None:
        """Give the connection back where the whole answer was read, else close it."""
        if self._answer.content.at_eof():
            self._answer.release()
        else:
            self._answer.close()
        await asyncio.sleep(0)


def _timeout(request: httpx.Request) -> aiohttp.ClientTimeout:
    """The time to connect alone, from httpx's own extension."""
    seconds = request.extensions.get("timeout", {}).get("connect")
    return aiohttp.ClientTimeout(total=None, sock_connect=seconds)


def _headers(raw: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    return [
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, value in raw
        if name.lower() not in (b"host", b"content-length")
    ]


def _reason(error: BaseException) -> str:
    return type(error).__name__
