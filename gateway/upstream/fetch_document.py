"""Fetch a document of an identity provider."""

from collections.abc import Awaitable, Callable

import httpx

_TIMEOUT_SECONDS = 5.0
_MAX_BYTES = 1_000_000

HTTP_ERRORS = (httpx.HTTPError, httpx.InvalidURL)
"""Errors of a request that got no answer."""

type FetchDocument = Callable[[str], Awaitable[bytes]]
"""Returns the body at a URL. Raises OSError if there is none."""


async def fetch_document(url: str) -> bytes:
    """Return the body at a URL, without redirects. Raises OSError."""
    try:
        async with (
            httpx.AsyncClient(timeout=_TIMEOUT_SECONDS, follow_redirects=False) as client,
            client.stream("GET", url) as response,
        ):
            if response.status_code != httpx.codes.OK:
                raise OSError(f"{url} answered {response.status_code}")
            data = b""
            async for chunk in response.aiter_bytes():
                data += chunk
                if len(data) > _MAX_BYTES:
                    raise OSError(f"{url} is longer than {_MAX_BYTES} bytes")
            return data
    except HTTP_ERRORS as error:
        raise OSError(f"{url}: {type(error).__name__}") from None
