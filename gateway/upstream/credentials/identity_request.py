"""Requests to token services and metadata addresses: small answers, short limits, no redirects.

A metadata address is on this machine or on its network. It is asked without a proxy, and must
answer the first request within a second: so the gateway learns that it does not run in this cloud.
"""

import asyncio
import ipaddress
import re
from collections.abc import Mapping

import httpx
import msgspec

from gateway.core import jsonio
from gateway.upstream.http1.connect import create_tls_context

PROBE_SECONDS = 1.0
"""Seconds in which a metadata address must take a connection, and answer the first request."""
ANSWER_SECONDS = 5.0
"""Seconds in which another answer must be there: metadata services ask token services for it."""
_MAX_BYTES = 100_000
"""Bytes that an answer may have. Tokens have some 2,000."""
_LOCAL_NAMES = frozenset({"localhost", "metadata", "metadata.google.internal"})
_ERROR_CODE = re.compile(r"[A-Za-z_.]{1,60}")
"""Codes of errors: RFC 6749's, and those of Google's APIs."""
_ENTRA_CODE = re.compile(r"AADSTS\d{4,9}")
_ENTRA_REASONS = {
    "AADSTS50034": "the client is not in the tenant",
    "AADSTS90002": "there is no such tenant",
    "AADSTS700016": "there is no such client in the tenant",
    "AADSTS700024": "the federated token has ended",
    "AADSTS700211": "no federated credential of the client has the token's issuer",
    "AADSTS700213": "no federated credential of the client has the token's subject",
    "AADSTS7000215": "the client secret is wrong",
    "AADSTS7000222": "the client secret has ended",
    "AADSTS500011": "there is no such scope in the tenant",
}
"""Causes of the codes that wrong settings give (learn.microsoft.com, Entra error codes)."""


class IdentityRequestError(Exception):
    """There is no answer. The message has the host, but no path, query or secret."""


class IdentityResponse(msgspec.Struct, frozen=True):
    """An answer with any status."""

    host: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    def read_object(self) -> dict[str, jsonio.Json]:
        """Return the JSON object of the body; an empty one if the body is something else."""
        try:
            value = jsonio.loads(self.body)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}

    def describe(self) -> str:
        """Describe the answer by its status and error codes: its other text may quote a secret."""
        value = self.read_object()
        error = value.get("error")
        details = []
        code = error.get("status") if isinstance(error, dict) else error
        if isinstance(code, str) and _ERROR_CODE.fullmatch(code):
            details.append(code)
        entra_code = _ENTRA_CODE.match(str(value.get("error_description", "")))
        if entra_code is not None:
            details.append(entra_code[0])
            if (reason := _ENTRA_REASONS.get(entra_code[0])) is not None:
                details.append(reason)
        text = f" ({', '.join(details)})" if details else ""
        return f"{self.host} answers {self.status}{text}"


async def send_identity_request(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    body: bytes | None = None,
    proxy: str | None = None,
    seconds: float = ANSWER_SECONDS,
) -> IdentityResponse:
    """Send a request, and return the answer. Raises IdentityRequestError.

    `proxy` is the proxy to hosts beyond this network, `seconds` the limit for the answer.
    """
    host, way = "its address", ""
    try:
        parsed = httpx.URL(url)
        host = parsed.netloc.decode("ascii") or host
        is_local = _is_local(parsed.host)
        proxy = None if is_local else proxy
        way = " through the proxy" if proxy is not None else ""
        tls = await asyncio.to_thread(create_tls_context)  # takes 8 ms
        async with (
            httpx.AsyncClient(
                verify=tls,
                proxy=proxy,
                timeout=httpx.Timeout(seconds, connect=PROBE_SECONDS if is_local else seconds),
                follow_redirects=False,
                trust_env=False,
            ) as client,
            asyncio.timeout(seconds),  # after the first client's imports: 0.1 to 1 s
            client.stream(
                method,
                parsed,
                headers={**headers, "accept-encoding": "identity"},
                content=body,
            ) as response,
        ):
            data = b""
            async for chunk in response.aiter_raw():
                data += chunk
                if len(data) > _MAX_BYTES:
                    raise IdentityRequestError(f"{host} answers more than {_MAX_BYTES:,} bytes")
            return IdentityResponse(host, response.status_code, response.headers, data)
    except (TimeoutError, httpx.TimeoutException):
        raise IdentityRequestError(f"{host} does not answer in time{way}") from None
    except (httpx.ConnectError, httpx.ProxyError) as error:  # what the machine or the proxy says
        reason = str(error).partition(", certificate")[0] or type(error).__name__
        raise IdentityRequestError(f"{host} cannot be reached{way} ({reason})") from None
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        reason = type(error).__name__
        raise IdentityRequestError(f"{host} cannot be reached{way} ({reason})") from None
    except ImportError:
        raise IdentityRequestError(
            "a socks5:// proxy needs socksio: pip install 'tiergate[socks]'"
        ) from None


def _is_local(host: str) -> bool:
    """Return True if a host is on this machine or its network."""
    if host in _LOCAL_NAMES:
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_private or address.is_link_local
