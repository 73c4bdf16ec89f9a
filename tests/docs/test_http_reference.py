"""The HTTP reference matches the routes of the app."""

import httpx

from tests.docs import http_reference, pages
from tests.server.test_ssrf import list_served_routes

_PREFIX = "/v1beta/models/auto:"


def test_the_tables_are_those_of_the_code() -> None:
    text = http_reference.PAGE.read_text("utf-8")
    assert http_reference.page(text) == text, "run: python -m tests.docs.http_reference"


async def test_the_matrix_has_the_routes_of_model_calls_and_no_other() -> None:
    rows = pages.table("model call", "http.md").rows
    listed = {pages.codes(row[0])[0].replace("{model}", "auto") for row in rows}
    with http_reference.make_app() as app:
        posts = {path for method, path in list_served_routes(app) if method == "POST"}
    own = {"/v1/route", "/v1/feedback", *(path for path in posts if path.startswith("/admin/"))}
    own |= {path for path in posts if path.startswith(("/v1/models/", "/dashboard"))}
    own |= {
        path for path in posts if "/realtime" in path or path.endswith("/auth_tokens")
    }  # refused
    assert listed == {f"POST {path}" for path in posts - own}
    assert any(path.startswith(_PREFIX) for path in posts)


async def test_absent_endpoints_are_not_served() -> None:
    rows = pages.table("absent endpoint", "http.md").rows
    requests = [code.split(" ", 1) for row in rows for code in pages.codes(row[0])]
    assert requests
    with http_reference.make_app() as app:
        transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            answers = {
                f"{method} {path}": (await client.request(method, path, json={})).status_code
                for method, path in requests
            }
    assert set(answers.values()) <= {404, 405}, answers
