"""Headers that smuggle something to the provider, and answers that carry something to a browser."""

import socket

import pytest

from tests.e2e.upstream import PATIENCE, Answer, Upstream
from tests.e2e.world import Config, Make
from tests.security.shared_account import BOB, KEYS, SECRETS, Site, answer
from tests.server.gate import answers, drain, request

SMUGGLED = {
    "openai-organization": "org-other", "openai-project": "proj_other", "anthropic-workspace-id": "wrk_other",
    "x-goog-user-project": "other", "x-goog-request-params": "model=other", "x-goog-quota-user": "other",
    "cookie": "session=1", "forwarded": "for=10.0.0.1", "x-forwarded-host": "evil.example", "x-forwarded-for": "10.0.0.1",
    "x-real-ip": "10.0.0.1", "proxy-authorization": "Basic x", "x-tiergate-other": "1", "x-amz-security-token": "x",
    "x-ms-client-request-id": "x", "x-http-method-override": "DELETE", "referer": "https://app.example/?token=x",
    "origin": "https://app.example", "x-api-version": "x", "te": "trailers", "expect-ct": "x", "upgrade-insecure-requests": "1",
}  # fmt: skip


def test_no_header_of_a_client_chooses_an_account_or_names_a_person(site: Site) -> None:
    """Organisation, project, workspace, payer, cookies, addresses: the provider gets none of them."""
    for method, path in (("GET", "/v1/files"), ("POST", "/v1/vector_stores")):
        body = {"json": {"name": "x"}} if method == "POST" else {}
        site.ask(method, path, headers=SMUGGLED, **body)
        sent = {name.decode().lower() for name, _ in site.sent[-1].headers}
        assert not sent & SMUGGLED.keys()
        assert site.sent[-1].header("authorization") == "Bearer sk-acme-0123456789-never-shown"
    assert SECRETS["alice"] not in repr([request.headers for request in site.sent])


def test_no_header_reaches_a_browser_but_those_of_the_list(site: Site) -> None:
    """No cookie, no redirect, no permission for pages of other origins, nothing in our name."""
    file = site.make_object("/v1/files")
    hostile = {
        "set-cookie": "tiergate_session=stolen", "location": "https://evil.example", "refresh": "0;url=https://evil.example",
        "access-control-allow-origin": "*", "access-control-allow-credentials": "true", "clear-site-data": "*",
        "strict-transport-security": "max-age=1", "link": "<https://evil.example>; rel=preload", "www-authenticate": "Basic",
        "x-tiergate-model": "other", "x-tiergate-cost": "-1", "x-request-id": "theirs", "alt-svc": 'h3="evil:443"',
        "service-worker-allowed": "/", "content-security-policy": "default-src *", "x-content-type-options": "off",
    }  # fmt: skip
    for path in (f"/v1/files/{file}", f"/v1/files/{file}/content", "/v1/files"):
        site.account.answers[path.removeprefix("/v1/")] = answer(
            {"id": file, "data": []}, **hostile
        )
        reply = site.ask("GET", path)
        assert reply.status_code == 200
        shown = {name: value for name, value in reply.headers.items() if name in hostile}
        assert "theirs" not in shown.pop("x-request-id")
        assert shown.pop("x-content-type-options") == "nosniff"
        assert shown.pop("content-security-policy") == "sandbox; default-src 'none'"
        assert shown.pop("x-tiergate-cost", "0") == "0"
        assert shown.pop("x-tiergate-model", "") != "other"
        assert shown == {}


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
@pytest.mark.parametrize("path", ["/v1/files", "/v1/files/{file}/content"])
def test_no_redirect_is_followed_or_passed(site: Site, path: str, status: int) -> None:
    file = site.make_object("/v1/files")
    target = f"{site.account.upstream.url}/internal"
    path = path.format(file=file)
    site.account.answers[path.removeprefix("/v1/")] = Answer(
        status=status, headers=(("location", target), ("content-type", "text/html")), length=0
    )
    reply = site.ask("GET", path, follow_redirects=False)
    assert reply.status_code == 502
    assert target not in reply.text
    assert "location" not in reply.headers
    assert all("internal" not in request.path for request in site.sent)


@pytest.mark.parametrize(
    "content_type", ["text/html", "image/svg+xml", "text/javascript", "application/xhtml+xml", "text/xml", ""]
)  # fmt: skip
def test_a_page_of_a_provider_runs_in_no_browser(site: Site, content_type: str) -> None:
    """Its origin would be that of the dashboard. A sandbox without scripts has no origin."""
    file = site.make_object("/v1/files")
    page = b"<script>fetch('/admin/keys')</script>"
    headers = (("content-type", content_type),) if content_type else ()
    site.account.answers[f"files/{file}/content"] = Answer(pieces=(page,), headers=headers)
    reply = site.ask("GET", f"/v1/files/{file}/content")
    assert reply.content == page
    assert reply.headers["content-security-policy"] == "sandbox; default-src 'none'"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["cache-control"] == "no-store"


def test_an_error_of_a_provider_shows_no_credential(site: Site) -> None:
    secret = "sk-acme-0123456789-never-shown"
    body = b'{"error": {"message": "Incorrect API key: %s"}}' % secret.encode()
    for status in (400, 401, 403, 404, 409, 429, 500):
        site.account.answers["files"] = Answer(pieces=(body,), status=status, length=len(body))
        reply = site.ask("GET", "/v1/files")
        assert reply.status_code >= 400
        assert secret not in reply.text


def test_no_header_chooses_a_workspace_at_anthropic(make: Make, upstream: Upstream) -> None:
    """Its files would be those of other applications of the organisation."""

    def anthropic(value: Config) -> None:
        value["providers"]["acme"]["dialects"]["anthropic-messages"] = "/messages"
        value["providers"]["acme"]["endpoints"] = {"anthropic-files": ""}

    world = make(anthropic, TIERGATE_KEYS=KEYS)
    upstream.on("/acme", answer({"data": []}))
    named = {"anthropic-workspace-id": "wrk_other", "anthropic-beta": "files-api-2025-04-14"}
    headers = {**BOB, "anthropic-version": "2023-06-01", **named}
    assert world.client.get("/v1/files", headers=headers).status_code == 200
    (sent,) = upstream.requests
    assert sent.header("anthropic-workspace-id") is None
    assert sent.header("anthropic-beta") == named["anthropic-beta"]


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/files"), ("DELETE", "/v1/files/x"), ("POST", "/v1/batches/x/cancel")])  # fmt: skip
def test_no_request_hides_in_a_body_that_the_endpoint_does_not_have(
    site: Site, method: str, path: str
) -> None:
    """The gateway reads over the body, or closes; it never answers what is in it."""
    line = f"authorization: Bearer {SECRETS['alice']}".encode()
    hidden = request("/v1/vector_stores", b"", line, method="GET")
    with socket.create_connection(("127.0.0.1", site.world.port), PATIENCE) as connection:
        connection.sendall(request(path, hidden, line, b"connection: close", method=method))
        assert len(answers(drain(connection))) == 1
    assert not [sent for sent in site.sent if "vector_stores" in sent.path]
    assert all(sent.body == b"" for sent in site.sent)


def test_what_clients_send_and_get_is_in_no_log_and_no_row(site: Site) -> None:
    """Ids, names of files, queries, bodies and answers: rows have the name of the endpoint."""
    file = site.make_object("/v1/files")
    canary = "canary-0123456789"
    site.account.answers[f"files/{file}"] = answer({"id": file, "filename": canary, "data": canary})
    site.ask("GET", f"/v1/files/{file}?after={canary}", headers={"x-canary": canary})
    site.ask("GET", f"/v1/files/{canary}")
    site.ask("POST", "/v1/vector_stores", json={"name": canary, "metadata": {"a": canary}})
    site.ask("POST", "/v1/files", files={"file": (canary, canary.encode())}, data={"purpose": canary})  # fmt: skip
    site.ask("POST", "/v1/images/generations", json={"model": "draw-1", "prompt": canary})
    metrics = site.world.client.get("/metrics", headers=BOB).text
    rows = site.world.entries()
    assert {row.operation for row in rows} >= {"files.create", "files.retrieve", "vector_stores.create"}  # fmt: skip
    written = b"".join(
        path.read_bytes()
        for path in (site.world.folder / "data").rglob("*")
        if path.is_file() and not path.name.startswith("objects.db")
    )
    for text in (repr(rows), repr(site.world.log), metrics, written.decode("latin-1")):
        assert canary not in text
