"""The start page at `/`: one file without a request to anything else, or the same as JSON."""

import base64
import functools
import hashlib
import re
from collections.abc import Sequence
from html import escape
from importlib import resources
from typing import NamedTuple

from fastapi import FastAPI, Request, Response

from gateway.core import jsonio
from gateway.core.call import OPEN, Key
from gateway.core.errors import ProblemError
from gateway.core.jsonio import Json
from gateway.routing.visible_models import names
from gateway.runtime.composition import VERSION, Gateway
from gateway.server import request_headers
from gateway.server.dashboard.routes import SAFE, by_tls
from gateway.server.metrics import MetricsGuard
from gateway.server.readiness import Readiness, Unready

_INLINE = re.compile(rb"<(style|script)>(.*?)</\1>", re.DOTALL)
_KEY = (
    '<label for="key">Key of this gateway</label>'
    '<input id="key" type="password" required autocomplete="off" spellcheck="false">'
)
"""The box for a key; the page keeps what is written there in memory alone."""
_NO_KEY = "Keys are open: any text will do as a key."
_A_KEY = "A call needs a key of this gateway."
_FRESH = {"cache-control": "no-store", "vary": "accept"}


class _Page(NamedTuple):
    """The page as it is shipped, and the policy that lets its own script run and nothing else."""

    text: str
    policy: str


def routes(app: FastAPI, gateway: Gateway, readiness: Readiness, readers: MetricsGuard) -> None:
    """Add it to an app. Where metrics are closed, strangers learn no details either."""

    @app.get("/", include_in_schema=False)
    async def start(request: Request) -> Response:
        unready, labs = await readiness(), _labs(gateway, request)
        base = _base(gateway, request)
        detailed = labs is not None or not readers.discreet
        if _wants_json(request):
            data = jsonio.dumps(_told(unready, labs, base, detailed=detailed))
            return Response(data, media_type="application/json", headers=_FRESH)
        page = _page()
        text = _filled(
            page.text, unready, labs, base, is_open=gateway.keys.is_open, detailed=detailed
        )
        headers = {**SAFE, **_FRESH, "content-security-policy": page.policy}
        return Response(text, media_type="text/html", headers=headers)


def _wants_json(request: Request) -> bool:
    accept = request.headers.get("accept", "")
    return "application/json" in accept and "text/html" not in accept


def _labs(gateway: Gateway, request: Request) -> Sequence[str] | None:
    """Return the labs that a caller may use; None for a stranger, where keys exist."""
    key: Key = OPEN
    if not gateway.keys.is_open:
        try:
            key = request_headers.identify(
                gateway.keys, request_headers.RequestHeaders(request.headers.raw)
            )
        except ProblemError as error:
            if error.problem.kind == "rate_limited":
                raise
            return None
    owners = names(gateway.site.built.catalogue, key).values()
    return [name for name in dict.fromkeys(owners) if name in gateway.site.built.catalogue.labs]


def _base(gateway: Gateway, request: Request) -> str:
    """Return the address at which the caller has reached the gateway."""
    server = gateway.site.source.config.server
    host = request.headers.get("host") or f"{gateway.host}:{server.port}"
    return f"{'https' if by_tls(request) else 'http'}://{host}"


def _told(
    unready: Unready | None, labs: Sequence[str] | None, base: str, *, detailed: bool
) -> dict[str, Json]:
    """Return what the page says, for programs."""
    told: dict[str, Json] = {
        "name": "tiergate",
        "status": "ok" if unready is None else unready.status,
        "base_urls": {"openai": f"{base}/v1", "anthropic": base, "gemini": base, "azure": base},
        "models": "/v1/models",
    }
    if detailed:
        told["version"] = VERSION
    if detailed and unready is not None:
        told["reason"] = unready.reason
    if labs is not None:
        told["labs"] = list(labs)
    return told


def _filled(
    text: str,
    unready: Unready | None,
    labs: Sequence[str] | None,
    base: str,
    *,
    is_open: bool,
    detailed: bool,
) -> str:
    """Return the page with what holds now; all that is put in is escaped."""
    kind, state = ("good", "Ready") if unready is None else ("bad", "Not ready")
    if unready is not None and detailed:
        state = f"Not ready: {unready.reason}"
    parts = {
        "version": escape(VERSION) if detailed else "",
        "status": f'<p class="state {kind}">{escape(state)}</p>',
        "labs": _list(labs),
        "base": escape(base),
        "keys": _NO_KEY if is_open else _A_KEY,
        "key": "" if is_open else _KEY,
    }
    for name, part in parts.items():
        text = text.replace(f"<!--{name}-->", part)
    return text


def _list(labs: Sequence[str] | None) -> str:
    if labs is None:
        return "<p>Labs are for callers with a key: <code>/v1/models</code> lists them.</p>"
    items = "".join(f"<li>{escape(lab)}</li>" for lab in labs)
    return f'<p>Labs that are on:</p><ul class="labs">{items}</ul>'


@functools.cache
def _page() -> _Page:
    """Read the page, once."""
    data = (resources.files(__package__) / "page.html").read_bytes()
    hashes = {
        kind.decode(): base64.b64encode(hashlib.sha256(inner).digest()).decode()
        for kind, inner in _INLINE.findall(data)
    }
    policy = SAFE["content-security-policy"]
    for kind, digest in hashes.items():
        policy = policy.replace(f"{kind}-src 'self'", f"{kind}-src 'sha256-{digest}'")
    return _Page(data.decode(), policy)
