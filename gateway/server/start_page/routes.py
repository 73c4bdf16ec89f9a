"""The start page at `/`: one file that loads nothing else, or the same content as JSON."""

from collections.abc import Sequence
from html import escape

from fastapi import FastAPI, Request, Response

from gateway.core import jsonio
from gateway.core.call import OPEN_KEY, Key
from gateway.core.errors import ProblemError
from gateway.core.jsonio import Json
from gateway.routing.visible_models import list_names
from gateway.runtime.composition import VERSION, Gateway
from gateway.server import request_headers
from gateway.server.dashboard.routes import is_tls
from gateway.server.inline_page import load_page, render_page
from gateway.server.metrics import MetricsGuard
from gateway.server.readiness import Readiness, Unready

_KEY_INPUT = (
    '<label for="key">Key of this gateway</label>'
    '<input id="key" type="password" required autocomplete="off" spellcheck="false">'
)
"""The input field for a key; the page keeps the key in memory alone."""
_OPEN_KEYS_TEXT = "Keys are open: any text will do as a key."
_KEY_NEEDED_TEXT = "A call needs a key of this gateway."
_NO_STORE_HEADERS = {"cache-control": "no-store", "vary": "accept"}


def add_routes(
    app: FastAPI, gateway: Gateway, readiness: Readiness, metrics_guard: MetricsGuard
) -> None:
    """Add the page to an app. While metrics are closed, strangers learn no details here either."""

    @app.get("/", include_in_schema=False)
    async def start(request: Request) -> Response:
        unready, labs = await readiness(), _find_labs(gateway, request)
        base_url = _build_base_url(gateway, request)
        shows_details = labs is not None or not metrics_guard.hides_details
        if _wants_json(request):
            data = jsonio.dumps(_build_status(unready, labs, base_url, shows_details=shows_details))
            return Response(data, media_type="application/json", headers=_NO_STORE_HEADERS)
        page = load_page(__package__)
        text = _fill_page(
            page.text,
            unready,
            labs,
            base_url,
            is_open=gateway.keys.is_open,
            shows_details=shows_details,
        )
        return render_page(page._replace(text=text))


def _wants_json(request: Request) -> bool:
    accept = request.headers.get("accept", "")
    return "application/json" in accept and "text/html" not in accept


def _find_labs(gateway: Gateway, request: Request) -> Sequence[str] | None:
    """Return the labs that a caller may use; None for a stranger if keys exist."""
    key: Key = OPEN_KEY
    if not gateway.keys.is_open:
        try:
            key = request_headers.identify_caller(gateway.keys, request)
        except ProblemError as error:
            if error.problem.kind == "rate_limited":
                raise
            return None
    owners = list_names(gateway.built_config.built_catalogue.catalogue, key).values()
    return [
        name
        for name in dict.fromkeys(owners)
        if name in gateway.built_config.built_catalogue.catalogue.labs
    ]


def _build_base_url(gateway: Gateway, request: Request) -> str:
    """Return the base URL by which the caller reached the gateway."""
    server = gateway.built_config.source.config.server
    host = request.headers.get("host") or f"{gateway.host}:{server.port}"
    return f"{'https' if is_tls(request) else 'http'}://{host}"


def _build_status(
    unready: Unready | None, labs: Sequence[str] | None, base_url: str, *, shows_details: bool
) -> dict[str, Json]:
    """Return the content of the page, for programs."""
    fields: dict[str, Json] = {
        "name": "tiergate",
        "status": "ok" if unready is None else unready.status,
        "base_urls": {
            "openai": f"{base_url}/v1",
            "anthropic": base_url,
            "gemini": base_url,
            "azure": base_url,
        },
        "models": "/v1/models",
    }
    if shows_details:
        fields["version"] = VERSION
    if shows_details and unready is not None:
        fields["reason"] = unready.reason
    if labs is not None:
        fields["labs"] = list(labs)
    return fields


def _fill_page(
    text: str,
    unready: Unready | None,
    labs: Sequence[str] | None,
    base_url: str,
    *,
    is_open: bool,
    shows_details: bool,
) -> str:
    """Return the page with the current state; every value is escaped."""
    state_class, state_text = ("good", "Ready") if unready is None else ("bad", "Not ready")
    if unready is not None and shows_details:
        state_text = f"Not ready: {unready.reason}"
    fragments = {
        "version": escape(VERSION) if shows_details else "",
        "status": f'<p class="state {state_class}">{escape(state_text)}</p>',
        "labs": _render_labs(labs),
        "base": escape(base_url),
        "keys": _OPEN_KEYS_TEXT if is_open else _KEY_NEEDED_TEXT,
        "key": "" if is_open else _KEY_INPUT,
    }
    for name, fragment in fragments.items():
        text = text.replace(f"<!--{name}-->", fragment)
    return text


def _render_labs(labs: Sequence[str] | None) -> str:
    if labs is None:
        return "<p>Labs are for callers with a key: <code>/v1/models</code> lists them.</p>"
    items = "".join(f"<li>{escape(lab)}</li>" for lab in labs)
    return f'<p>Labs that are on:</p><ul class="labs">{items}</ul>'
