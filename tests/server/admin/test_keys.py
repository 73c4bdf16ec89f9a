"""Test /admin/keys: who changes keys, what is answered, and when calls notice."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.limits import key_guessing
from gateway.limits.errors import KeyStoreError
from gateway.limits.key_store import followed_keys
from tests.e2e.child import until
from tests.e2e.world import Config, Make, World
from tests.server.test_scopes import digest

KEYS = "/admin/keys"


def use_database(value: Config) -> None:
    value["keys"] = "sqlite:///keys.db"


@pytest.fixture
def world(make: Make, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(followed_keys, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(key_guessing, "_MAX_TRIES", 1_000)  # a new key is tried until it is known
    monkeypatch.setattr(key_guessing, "_MAX_TOTAL_TRIES", 1_000)
    running: World = make(use_database)
    return running


def ask(world: World, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
    return world.client.request(method, path, json=body, headers=headers)


def create(world: World, name: str, **settings: Any) -> str:
    """Create a key; return its secret."""
    reply = ask(world, "POST", KEYS, {"name": name, **settings})
    assert reply.status_code == 201, reply.text
    assert reply.headers["cache-control"] == "no-store"
    return str(reply.json()["secret"])


def status(world: World, secret: str) -> int:
    reply = world.client.get("/v1/models", headers={"authorization": f"Bearer {secret}"})
    return reply.status_code


def reaches(world: World, secret: str, expected: int) -> None:
    until(lambda: status(world, secret) == expected, f"the secret gets {expected}")


def test_a_key_lives_from_its_creation_to_its_revocation(world: World) -> None:
    first = create(world, "web", labs=["acme"], limits={"requests": "60/m"})
    reaches(world, first, 200)
    reply = ask(world, "PATCH", f"{KEYS}/web", {"tags": ["a"], "labs": None})
    assert (reply.status_code, reply.json()["tags"], reply.json()["labs"]) == (200, ["a"], None)
    rotated = ask(world, "POST", f"{KEYS}/web/rotate", {"keep": "1h"}).json()
    second = rotated["secret"]
    assert len(rotated["earlier"]) == 1
    reaches(world, second, 200)
    assert status(world, first) == 200
    third = ask(world, "POST", f"{KEYS}/web/rotate", {"keep": 0}).json()["secret"]
    reaches(world, first, 401)
    assert (status(world, second), status(world, third)) == (401, 200)
    answer = ask(world, "DELETE", f"{KEYS}/web").json()
    assert answer == {"name": "web", "state": "revoked", "changed": True}
    reaches(world, third, 401)
    assert ask(world, "DELETE", f"{KEYS}/web").json()["changed"] is False
    reply = ask(world, "GET", f"{KEYS}/web")
    assert (reply.json()["state"], reply.json()["changed_by"]) == ("revoked", "local")
    assert ask(world, "POST", KEYS, {"name": "web"}).status_code == 409
    for text in (reply.text, ask(world, "GET", KEYS).text, str(world.log)):
        for secret in (first, second, third):
            assert secret not in text
            assert digest(secret) not in text


def test_settings_of_a_key_are_changed_and_what_is_shown_can_be_sent(world: World) -> None:
    budgets = [{"usd": 5, "every": "month", "tier": ["fast"]}, {"usd": "0.5", "every": "day"}]
    limits = [{"requests": "60/m", "concurrency": 3}]
    create(world, "web", budgets=budgets, limits=limits, team="search", expires="90d")
    shown = ask(world, "GET", f"{KEYS}/web").json()
    settings = {name: shown[name] for name in ("budgets", "limits", "team", "tags", "expires")}
    again = ask(world, "PATCH", f"{KEYS}/web", settings)
    assert again.status_code == 200, again.text
    assert {name: again.json()[name] for name in settings} == settings
    changes = {
        "budgets": [{"usd": 20, "every": "week"}], "limits": {"tokens": "200k/m"}, "team": "ads",
        "tags": ["eu"], "expires": "2099-01-31",
    }  # fmt: skip
    changed = ask(world, "PATCH", f"{KEYS}/web", changes).json()
    assert [(part["usd"], part["every"]) for part in changed["budgets"]] == [("20", "week")]
    assert (changed["limits"], changed["team"], changed["tags"]) == ([{"tokens": "200000/m"}], "ads", ["eu"])  # fmt: skip
    assert changed["expires"] == "2099-01-31"
    removed = ask(world, "PATCH", f"{KEYS}/web", dict.fromkeys(changes)).json()
    assert {name: removed[name] for name in changes} == {
        "budgets": [], "limits": [], "team": None, "tags": None, "expires": None,
    }  # fmt: skip


def test_budgets_say_where_they_are_changed(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A budget of a key in a database can be edited here, one of the configuration in its file."""
    monkeypatch.setattr(followed_keys, "POLL_SECONDS", 0.01)

    def use_both(value: Config) -> None:
        use_database(value)
        value["budgets"] = [{"name": "all", "usd": 10, "every": "day"}]

    world: World = make(use_both)

    def read() -> dict[str, Any]:
        rows = ask(world, "GET", "/admin/budgets").json()["budgets"]
        return {row["key"]: row for row in rows}

    create(world, "web", budgets=[{"usd": 5, "every": "month"}])
    until(lambda: "web" in read(), "the gateway knows the key")
    rows = read()
    places = {key: (row["file"], row["line"], row["editable"]) for key, row in rows.items()}
    assert places == {
        None: (str(world.folder / "gateway.yaml"), 1, False),
        "web": ("the key database", None, True),
    }
    ask(world, "PATCH", f"{KEYS}/web", {"budgets": [{"usd": 7, "every": "month"}]})
    until(lambda: read()["web"]["limit"] == "7", "the gateway knows the budget")


def test_an_expiry_ends_a_key(world: World) -> None:
    secret = create(world, "web", expires="1h")
    reaches(world, secret, 200)
    reply = ask(world, "PATCH", f"{KEYS}/web", {"expires": "2026-01-31"})
    assert reply.json()["state"] == "expired"
    reaches(world, secret, 401)


def test_keys_are_listed_in_pages(world: World) -> None:
    for name in ("c", "a", "b"):
        create(world, name)
    first = ask(world, "GET", f"{KEYS}?limit=2").json()
    assert ([row["name"] for row in first["keys"]], first["next"]) == (["a", "b"], "b")
    assert (first["source"], first["place"]) == ("database", "the key database")
    second = ask(world, "GET", f"{KEYS}?limit=2&after={first['next']}").json()
    assert ([row["name"] for row in second["keys"]], second["next"]) == (["c"], None)


def test_the_name_of_an_admin_is_kept(world: World) -> None:
    boss = create(world, "boss", admin=True)
    reaches(world, boss, 200)
    headers = {"authorization": f"Bearer {boss}"}
    assert ask(world, "POST", KEYS, {"name": "web"}).status_code == 401
    reply = ask(world, "POST", KEYS, {"name": "web"}, **headers)
    assert reply.json()["changed_by"] == "boss"
    session = world.client.post("/dashboard/session", json={"key": boss})
    token = session.json()["token"]
    assert ask(world, "POST", KEYS, {"name": "app"}).status_code == 403
    reply = ask(world, "POST", KEYS, {"name": "app"}, **{"x-tiergate-csrf": token})
    assert (reply.status_code, reply.json()["changed_by"]) == (201, "boss")


REFUSED: list[tuple[str, str, Any, int, str]] = [
    ("POST", "", {"name": "a b"}, 400, "A name is letters, digits"),
    ("POST", "", {}, 400, "must have a name"),
    ("POST", "", [], 400, "must be a JSON object"),
    ("POST", "", {"name": "x", "labs": ["acne"]}, 400, "Did you mean 'acme'?"),
    ("POST", "", {"name": "x", "text": "a" * 70_000}, 413, "at most 65,536 bytes"),
    ("POST", "?dry_run=true", {"name": "x"}, 400, "no parameter 'dry_run'"),
    ("GET", "?limit=0", None, 400, "from 1 to 1000"),
    ("GET", "/nobody", None, 404, "There is no key 'nobody'"),
    ("PATCH", "/web", {}, 400, "Name the settings"),
    ("PATCH", "/web", {"sha256": "a"}, 400, "Rotate the key"),
    ("PATCH", "/nobody", {"admin": True}, 404, "There is no key 'nobody'"),
    ("POST", "/web/rotate", {"keep": "long"}, 400, "as 24h or 0s"),
    ("POST", "/web/rotate", {"keeps": "1h"}, 400, "no member 'keeps' here, only keep"),
    ("DELETE", "/nobody", None, 404, "Did you mean"),
]  # fmt: skip


def test_a_refusal_says_what_to_do(world: World) -> None:
    create(world, "web")
    create(world, "nobodi")
    for method, path, body, expected, words in REFUSED:
        reply = ask(world, method, KEYS + path, body)
        assert (reply.status_code, words in reply.text) == (expected, True), (path, reply.text)
    reply = world.client.post(KEYS, content=b"{", headers={"content-type": "application/json"})
    assert (reply.status_code, "must be a JSON object" in reply.text) == (400, True)


def use_file(value: Config) -> None:
    value["keys"] = "keys.yaml"


CHANGES = [("POST", "", {"name": "x"}), ("PATCH", "/web", {"tags": ["a"]}), ("POST", "/web/rotate", {}), ("DELETE", "/web", None)]  # fmt: skip


def test_keys_of_a_file_are_listed_and_changed_in_the_file(make: Make) -> None:
    world = make(use_file, files={"keys.yaml": {"web": {"sha256": digest("s1")}}})
    answer = ask(world, "GET", KEYS).json()
    assert (answer["source"], answer["place"].endswith("keys.yaml")) == ("file", True)
    assert answer["keys"][0]["name"] == "web"
    assert ask(world, "GET", f"{KEYS}/web").json()["source"] == "file"
    for method, path, body in CHANGES:
        reply = ask(world, method, KEYS + path, body)
        assert reply.status_code == 409
        assert "Keys come from the file" in reply.text
        assert "change them there, with `tiergate keys`" in reply.text
    file = Path(answer["place"])
    file.write_text("web: [\n")
    reply = ask(world, "GET", KEYS)
    assert (reply.status_code, "not valid YAML" in reply.text) == (409, True)


def test_open_keys_are_none(make: Make) -> None:
    world = make()
    assert ask(world, "GET", KEYS).json() == {"source": "open", "place": None, "keys": [], "next": None}  # fmt: skip
    assert ask(world, "GET", f"{KEYS}/web").status_code == 404
    for method, path, body in CHANGES:
        reply = ask(world, method, KEYS + path, body)
        assert (reply.status_code, "Keys are open" in reply.text) == (409, True)


def test_an_outage_is_told_and_ends(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = create(world, "web")
    boss = create(world, "boss", admin=True)
    reaches(world, secret, 200)
    reaches(world, boss, 200)
    database = world.gateway.keys.database
    assert isinstance(database, followed_keys.FollowedKeys)
    store = database._database

    def fail(*_: object) -> None:
        raise KeyStoreError("the key database: gone")

    with monkeypatch.context() as patch:
        patch.setattr(store, "read_changes", fail)
        patch.setattr(world.gateway.key_store, "edit", fail)
        until(lambda: bool(database.failure), "the gateway notices")
        assert status(world, secret) == 200
        ready = world.client.get("/ready")
        assert (ready.status_code, ready.json()["status"]) == (200, "ok")
        assert "known keys are valid until" in ready.json()["keys"]
        metrics = world.client.get("/metrics", headers={"authorization": f"Bearer {boss}"}).text
        assert "tiergate_key_database_up 0" in metrics
        headers = {"authorization": f"Bearer {boss}"}
        reply = ask(world, "POST", KEYS, {"name": "x"}, **headers)
        assert (reply.status_code, "cannot use its database of keys: the key database: gone" in reply.text) == (503, True)  # fmt: skip
        patch.setattr(database, "_stale_seconds", 0.0)
        reaches(world, secret, 503)
        reply = world.client.get("/v1/models", headers={"authorization": f"Bearer {secret}"})
        assert reply.json()["error"]["code"] == "keys_unavailable"
        patch.setattr(key_guessing, "_MAX_TRIES", 1)
        for _ in range(9):
            assert status(world, "wrong") == 503, "nobody guesses keys"
        assert ask(world, "GET", KEYS, **headers).status_code == 503
        ready = world.client.get("/ready")
        assert (ready.status_code, ready.json()["status"]) == (503, "keys")
    reaches(world, secret, 200)
    assert world.client.get("/ready").json()["status"] == "ok"
