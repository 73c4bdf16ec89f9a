"""Paths, queries and methods that try to reach what no table of pass-through endpoints lists."""

import re
import socket

import pytest

from gateway.settings.passthrough import TABLES
from tests.security.shared_account import SECRETS, Site
from tests.server.gate import drain, request

_FILE = "/v1/files/files-1"
TWISTED = [
    "/v1/files/..", "/v1/files/../organization/users", "/v1/files/%2e%2e/organization/users",
    "/v1/files/%2e%2e%2forganization%2fusers", "/v1/files/%252e%252e%252forganization",
    "/v1/files/..%2forganization", "/v1/files/..%5corganization", "/v1/files/..\\organization",
    "/v1/files/files-1;/../organization", "/v1/files/..;/organization", "/v1/files/files-1;x=1",
    "/v1/files/./files-1", "/v1//files", "//v1/files", "/v1/files//content", "/v1/files/files-1//content",
    "/v1/files/files-1%00", "/v1/files/files-1%0d%0ax-evil:1", "/v1/files/files-1%20", "/v1/files/files-1%3fx=1",
    "/v1/files/files-1%23", "/v1/files/%e2%88%95organization", "/v1/files/%ef%bc%8f%ef%bc%8e%ef%bc%8e",
    "/v1/files/%c0%ae%c0%ae/organization", "/v1/files/%c0%af", "/v1/files/%u002e%u002e", "/v1/files/%",
    "/v1/files/%2", "/v1/files/%zz", "/v1/files/files-1:content", "/v1/files/files-1/", "/V1/FILES/files-1",
    "/v1/%66iles/%2e", "/v1/vector_stores/vs/files/..%2f..%2f..%2forganization", "/v1/files/" + "a" * 3000,
]  # fmt: skip
NEVER = re.compile(
    r"organi[sz]ation|admin|api_?keys?|project|invite|users|member|certificate|audit|webhook"
    r"|client_secret|service_account|permission|workspace|billing|costs|/usage|dashboard|credential"
)
"""Words of endpoints that manage an account: its people, keys, money and hooks."""


@pytest.mark.parametrize("path", TWISTED)
def test_no_twisted_path_reaches_the_provider(site: Site, path: str) -> None:
    """Not even the paths of its own files: the gateway compares decoded segments, and no others."""
    site.make_object("/v1/files")
    count = len(site.sent)
    line = f"authorization: Bearer {SECRETS['alice']}".encode()
    with socket.create_connection(("127.0.0.1", site.world.port), 10) as connection:
        connection.sendall(request(path, b"", line, b"connection: close", method="GET"))
        status = int(drain(connection).split()[1])
    assert status in (400, 404, 405)
    assert len(site.sent) == count


def test_a_path_is_written_anew_whatever_its_spelling(site: Site) -> None:
    site.make_object("/v1/files")
    for path in ("/v1/files/%66iles-1", "/v1/%66%69les/files%2D1", "/openai/v1/files/files-1"):
        assert site.ask("GET", path).status_code == 200
        assert site.sent[-1].path == "/acme/files/files-1"


def test_no_table_has_an_endpoint_that_manages_an_account() -> None:
    templates = {
        table.prefix + endpoint.path for table in TABLES.values() for endpoint in table.endpoints
    }
    assert len(templates) > 80
    assert [path for path in templates if NEVER.search(path)] == []


def test_endpoints_that_manage_an_account_do_not_exist(site: Site) -> None:
    """These are paths of the official SDKs, and those of dashboards."""
    for path in (
        "/v1/organization/admin_api_keys", "/v1/organization/users", "/v1/organization/projects",
        "/v1/organization/projects/p/api_keys", "/v1/organization/invites", "/v1/organization/audit_logs",
        "/v1/organization/certificates", "/v1/organization/costs", "/v1/organization/usage/completions",
        "/v1/organizations/users", "/v1/organizations/api_keys", "/v1/webhooks", "/v1/dashboard/billing/usage",
        "/v1/projects/p/api_keys", "/v1beta/tunedModels/x/permissions", "/v1/me", "/v1/chatkit/sessions",
    ):  # fmt: skip
        for method in ("GET", "POST", "DELETE"):
            assert site.ask(method, path).status_code in (400, 404, 405), path
    assert not site.sent


def test_no_header_or_query_overrides_the_method(site: Site) -> None:
    site.make_object("/v1/files")
    headers = {
        "x-http-method-override": "DELETE", "x-http-method": "DELETE", "x-method-override": "DELETE",
        "x-original-url": "/v1/organization/users", "x-rewrite-url": "/v1/organization/users",
    }  # fmt: skip
    site.ask("GET", f"{_FILE}?_method=DELETE", headers=headers)
    sent = site.sent[-1]
    assert sent.method == "GET"
    assert not {name for name, _ in sent.headers} & {name.encode() for name in headers}
    for method in ("TRACE", "HEAD", "PUT", "PATCH", "CONNECT"):
        assert site.ask(method, _FILE).status_code in (400, 405)
    assert site.sent[-1] is sent


def test_no_query_has_a_credential_or_another_form_of_the_answer(site: Site) -> None:
    """Google answers `callback=` as a script, and `alt=` in a form that hides what it lists."""
    site.make_object("/v1/files")
    query = "limit=2&key=secret&access_token=secret&api_key=secret&callback=steal&alt=proto&%24alt=proto&jsonp=x"
    assert site.ask("GET", f"/v1/files?{query}").status_code == 200
    assert site.sent[-1].path == "/acme/files?limit=2"


@pytest.mark.parametrize(
    "query", ["&".join(["a"] * 200), "a=" + "%" * 50, "&&&", "a=%ff%00", "=" * 100]
)
def test_no_query_makes_the_gateway_fail(site: Site, query: str) -> None:
    assert site.ask("GET", f"/v1/files?{query}").status_code in (200, 400, 414)
