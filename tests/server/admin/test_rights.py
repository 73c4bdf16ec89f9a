"""Test what the role and the team of a signed-in person allow at the endpoints for admins."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from gateway.server.admin.auth import AdminAuth
from gateway.server.dashboard.session import COOKIE_NAME, CSRF_HEADER
from gateway.server.identity.person import Person
from gateway.settings.schema.sign_in import Role
from tests.e2e.upstream import PATIENCE
from tests.e2e.world import Config, Make, World
from tests.ledger.rows import entry
from tests.server.admin.test_costs import write


def use_sign_in(value: Config) -> None:
    value["sign_in"] = {
        "issuer": "https://login.example.com", "client_id": "tiergate", "client_secret": "s",
        "claim": "groups", "roles": {"viewer": "staff"},
    }  # fmt: skip


@pytest.fixture
def world(make: Make) -> World:
    world: World = make(use_sign_in)
    now = time.time()
    write(
        world,
        entry("tg-search", at=now - 1, team="search", conversation="c1", arm="canary:in"),
        entry("tg-ads", at=now, team="ads", conversation="c2", arm="canary:out"),
    )
    return world


@contextmanager
def browse(world: World, role: Role, team: str = "") -> Iterator[httpx.Client]:
    """Yield a browser in which a person has signed in; its requests have the token of the page."""
    sessions = AdminAuth.from_gateway(world.gateway).sessions
    cookie = sessions.begin_person(Person("ann@example.com", role, team))
    with httpx.Client(base_url=world.url, timeout=PATIENCE, trust_env=False) as browser:
        browser.cookies.set(COOKIE_NAME, cookie)
        browser.headers[CSRF_HEADER] = sessions.make_token(cookie)
        yield browser


def test_a_viewer_of_a_team_sees_its_calls_alone(world: World) -> None:
    with browse(world, "viewer", "search") as browser:
        found = browser.get("/admin/conversations?only=team=ads").json()["conversations"]
        assert [item["conversation"] for item in found] == ["c1"]
        rows = browser.get("/admin/entries?sort=-cost&search=tg&format=json").json()["entries"]
        assert [row["id"] for row in rows] == ["tg-search"]
        assert browser.get("/admin/month").json()["total"]["calls"] == 1
        (canary,) = browser.get("/admin/arms").json()["rules"]
        assert (canary["in"]["calls"], canary["out"]["calls"]) == (1, 0)
