"""Test that the OpenAPI document is true of every endpoint, by requests that it allows and forbids."""

from pathlib import Path

from gateway.dialects import OPERATIONS
from gateway.server.app import App
from tests.e2e.upstream import Upstream
from tests.e2e.world import Make
from tests.server import openapi
from tests.server.gate import Gate, chat
from tests.server.test_ssrf import list_served_routes


def test_c_17_the_document_has_every_endpoint_and_no_other(make: Make) -> None:
    """C-17: except probes without a body, pages for browsers, and Google's second names for lists."""
    app = App(make().gateway)
    documented = {
        (method.upper(), path.replace("{model}", "auto").replace("{name}", "auto"))
        for path, methods in app.openapi()["paths"].items()
        for method in methods
    }
    undocumented = {
        ("GET", "/"),
        ("GET", "/usage"),
        ("GET", "/v1beta/models"),
        ("GET", "/v1beta/models/auto"),
        ("GET", "/openapi.json"),
    }
    served = {
        (method, path)
        for method, path in list_served_routes(app)
        if method != "HEAD" and not path.startswith(("/v1/models/auto:", "/dashboard"))
    }
    assert documented == served - undocumented
    assert (
        len([operation for operation in OPERATIONS.values() if operation.read_with_path is None])
        == 6
    )
    assert app.openapi() is app.openapi()


def test_c_17_the_gateway_answers_generated_requests_as_documented(
    gate_with_keys: Gate, provider: Upstream, tmp_path: Path
) -> None:
    """C-17: all checks of schemathesis, the same requests every time; `make openapi` asks more.

    No 5xx, and only documented statuses, content types and shapes. The gateway refuses what the
    document forbids, takes what it allows, and opens no endpoint without a key.
    """
    count, findings = openapi.clients(gate_with_keys, tmp_path, 1)
    assert not findings, findings
    assert count > 300
    count, findings = openapi.admins(gate_with_keys, tmp_path, 1)
    assert not findings, findings
    assert count > 50
    assert not [row for row in gate_with_keys.rows() if row["event"] in ("bug", "library")]


def test_a_405_lists_all_methods_of_the_path(gate_with_keys: Gate) -> None:
    """The gateway lists all methods even if two routes share the path."""
    reply = gate_with_keys.ask("/v1/responses/resp_1", chat(), "PUT")
    assert (reply.status, reply.headers["allow"]) == (405, "DELETE, GET")
