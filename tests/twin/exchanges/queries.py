"""Requests that a gateway answers by itself: models, the ledger over HTTP, figures, pages."""

from collections.abc import Callable, Iterator, Sequence

from tests.twin.configuration import ADMIN
from tests.twin.exchanges.exchange import History, Json, TwinExchange, http_request

_PATHS = (
    "/health", "/ready", "/v1/models", "/v1beta/models", "/v1/models/auto", "/v1/models/beta/able-1", "/v1/models/none", "/v1beta/models/auto",
    "/openapi.json", "/", "/dashboard", "/docs", "/favicon.ico", "/robots.txt",
)  # fmt: skip
_ADMIN_PATHS = ("/admin/config", "/admin/health", "/metrics")
_GROUPS = ("tier", "lab", "model", "provider", "key", "tenant", "tag", "day", "rule", "state", "source", "account", "cache", "problem", "config", "dialect", "served")  # fmt: skip
_ADMIN_QUERIES = (
    "costs?by=lab&by=tier&format=csv", "costs?by=nothing", "costs?by=tier&only=lab:beta", "costs?since=2026-01-01&by=state", "costs?since=nonsense", "budgets", "config",
    "series?by=tier&every=day", "latency?by=tier&every=day", "health", "entries?limit=3&format=json", "entries?limit=3&order=newest", "entries?limit=0",
    "entries?limit=5&only=state:failed", "entries?limit=4&format=csv", "entries?order=newest&after=x", "nothing",
)  # fmt: skip
_FIGURES = 5.5
"""Seconds after which a gateway has certainly counted budgets once more for its figures."""


def before_calls() -> Iterator[TwinExchange]:
    """Yield pages and lists, for clients with several keys and without one."""
    requests = [(path, key) for path in _PATHS for key in ("main", "globex", "")]
    requests += [(path, key) for path in _ADMIN_PATHS for key in (ADMIN, "")]
    for path, key in requests:
        yield _query(f"at first {path} for {key or 'nobody'}", "GET", path, key)
    google = http_request("GET", "/v1/models", key="main", headers={"x-goog-api-client": "x"})
    yield TwinExchange("queries", "models for Google", google)
    for key in ("", "first-wrong-key"):
        yield _query(f"admin costs for {key!r}", "GET", "/admin/costs", key)


def rows(calls: Sequence[TwinExchange]) -> Iterator[TwinExchange]:
    """Yield reads of the row and the decision of earlier calls, and feedback on some of them."""
    for number, call in enumerate(calls):
        for end in ("", "/decision"):
            source = _row(call.name, "/admin/entries/{}" + end)
            yield TwinExchange("rows", f"row{end} of {call.name}", source)
        if number % 5 == 0:
            body = {"verdict": ("good", "bad")[number % 2], "score": 0.5, "tier": "fast"}
            yield TwinExchange("rows", f"feedback on {call.name}", _feedback(call.name, body))
    yield TwinExchange("rows", "an unknown row", http_request("GET", "/admin/entries/tg-none", key=ADMIN))  # fmt: skip


def after_calls() -> Iterator[TwinExchange]:
    """Yield sums, lists and figures after all calls."""
    for group in _GROUPS:
        yield _admin(f"/admin/costs?by={group}")
    for query in _ADMIN_QUERIES:
        yield _admin(f"/admin/{query}")
    yield _admin("/ready")
    yield _query("models at last", "GET", "/v1/models", "main")
    yield _query("reload", "POST", "/admin/reload?dry_run=true", ADMIN)
    yield _query("costs for a client's admin", "GET", "/admin/costs", "admin")


def figures() -> Iterator[TwinExchange]:
    """Yield the figures after all calls; some of them follow a clock."""
    health = http_request("GET", "/health", key="main")
    yield TwinExchange("queries", "at last /health for a client", health, pause=_FIGURES)
    yield _admin("/health")
    yield _admin("/metrics")


def _query(name: str, method: str, path: str, key: str) -> TwinExchange:
    return TwinExchange("queries", name, http_request(method, path, key=key))


def _admin(path: str) -> TwinExchange:
    return _query(f"at last {path}", "GET", path, ADMIN)


def _row(name: str, path: str) -> Callable[[History], bytes]:
    """Make the request for the row of a call."""

    def source(history: History) -> bytes:
        return http_request("GET", path.format(history[name].header("x-request-id")), key=ADMIN)

    return source


def _feedback(name: str, body: Json) -> Callable[[History], bytes]:
    """Make a client's feedback on a call."""

    def source(history: History) -> bytes:
        rated = {"id": history[name].header("x-request-id"), **body}
        return http_request("POST", "/v1/feedback", rated, "main")

    return source
