"""Test that the OpenAPI document is true of every endpoint, by requests that it allows and forbids."""

from pathlib import Path

from gateway.dialects import OPERATIONS
from gateway.server.app import App
from tests.e2e.upstream import Upstream
from tests.e2e.world import Make
from tests.server import openapi
from tests.server.gate import Gate, chat
from tests.server.test_ssrf import inventory


def test_c_17_it_has_every_door_and_no_other(make: Make) -> None:
    """C-17: except probes without a body, pages for browsers, and Google's second names for lists."""
    app = App(make().gateway)
    told = {
        (method.upper(), path.replace("{model}", "auto").replace("{name}", "auto"))
        for path, methods in app.openapi()["paths"].items()
        for method in methods
    }
    own = {
        ("GET", "/"),
        ("GET", "/v1beta/models"),
        ("GET", "/v1beta/models/auto"),
        ("GET", "/openapi.json"),
    }
    served = {
        (method, path)
        for method, path in inventory(app)
        if method != "HEAD" and not path.startswith(("/v1/models/auto:", "/dashboard"))
    }
    assert told == served - own
    assert len([one for one in OPERATIONS.values() if one.read_with_path is None]) == 6
    assert app.openapi() is app.openapi()


def test_c_17_what_it_allows_and_forbids(locked: Gate, provider: Upstream, tmp_path: Path) -> None:
    """C-17: all checks of schemathesis, the same requests every time; `make openapi` asks more.

    No 5xx, and only documented statuses, content types and shapes. The gateway refuses what the
    document forbids, takes what it allows, and opens no endpoint without a key.
    """
    count, wrong = openapi.clients(locked, tmp_path, 8)
    assert not wrong, wrong
    assert count > 300
    count, wrong = openapi.admins(locked, tmp_path, 4)
    assert not wrong, wrong
    assert count > 50
    assert not [row for row in locked.rows() if row["event"] in ("bug", "library")]


def test_a_method_that_is_none_is_told_all_that_are(locked: Gate) -> None:
    """The gateway lists all methods even if two routes share the path."""
    told = locked.ask("/v1/responses/resp_1", chat(), "PUT")
    assert (told.status, told.headers["allow"]) == (405, "DELETE, GET")
