"""The work on client keys: what is refused, what is recorded, and what is shown."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.limits.errors import KeyChangeError
from gateway.limits.key_admin import KeyAdmin, KnownNames, describe_key
from gateway.limits.key_store.sqlite import SqliteKeyDatabase
from gateway.limits.keys import parse_time
from gateway.limits.startup_check import explain_unshared_keys
from gateway.state.audit import AuditQuery, AuditRow

NOW = parse_time("2026-11-24T12:00:00Z")
HASH = "b" * 64
NAMES = KnownNames(labs=["acme"], regions=["eu"])


class Desk:
    """A KeyAdmin with its acts."""

    def __init__(self, folder: Path) -> None:
        self.rows: list[AuditRow] = []
        self.now = NOW
        self.store = SqliteKeyDatabase(folder / "keys.db", creates=True)
        self.admin = KeyAdmin(
            self.store, clock=lambda: self.now, names=NAMES, via="api", note=self.rows.append
        )

    def settings(self, name: str = "web") -> dict[str, Any]:
        return self.admin.get(name).settings

    def shown(self, name: str = "web") -> dict[str, Any]:
        return describe_key(self.admin.get(name), self.now, "database")


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    made = Desk(tmp_path)
    made.admin.create("web", {"lab": "acme", "tags": ["a"]}, "ann")
    return made


def test_changes_replace_settings_and_null_removes_them(desk: Desk) -> None:
    before = desk.settings()["sha256"]
    desk.admin.change("web", {"tags": ["b"], "lab": None, "expires": "90d", "labs": None}, "bob")
    assert desk.settings() == {"sha256": before, "tags": ["b"], "expires": "2027-02-22T12:00:00Z"}
    desk.admin.change("web", {"expires": "2027-01-31"}, "bob")
    assert desk.settings()["expires"] == "2027-01-31"
    assert desk.admin.get("web").changed_by == "bob"


def test_every_change_is_in_the_audit_without_a_hash(desk: Desk) -> None:
    desk.admin.change("web", {"tags": ["b"]}, "bob")
    desk.admin.change("web", {"tags": ["b"]}, "bob")
    desk.admin.rotate("web", 60, "bob")
    desk.admin.revoke("web", "cat")
    desk.admin.revoke("web", "cat")
    assert [(one.act, one.subject, one.who) for one in desk.rows] == [
        ("key.create", "web", "ann"),
        ("key.change", "web", "bob"),
        ("key.rotate", "web", "bob"),
        ("key.revoke", "web", "cat"),
    ]
    created, changed, rotated, revoked = desk.rows
    assert (created.at, created.via, created.host) == (NOW, "api", socket.gethostname())
    assert list(desk.store.iter_rows(AuditQuery(), 10)) == desk.rows[::-1]
    assert (created.before, created.after) == (None, {"lab": "acme", "tags": ["a"]})
    assert (changed.before, changed.after) == (
        {"lab": "acme", "tags": ["a"]},
        {"lab": "acme", "tags": ["b"]},
    )
    assert rotated.after == {
        "lab": "acme",
        "tags": ["b"],
        "earlier": [{"until": "2026-11-24T12:01:00Z"}],
    }
    assert revoked.after is not None
    assert revoked.after["revoked"] == "2026-11-24T12:00:00Z"


REFUSED: dict[str, tuple[Callable[[KeyAdmin], object], str, str, str]] = {
    "a name": (lambda one: one.create("a b", {}, ""), "invalid", "name", "a name is letters, digits"),
    "a name twice": (lambda one: one.create("web", {}, ""), "conflict", "", "`tiergate keys rotate` gives"),
    "a lab": (lambda one: one.create("x", {"labs": ["acne"]}, ""), "invalid", "labs", "Did you mean 'acme'?"),
    "a default lab": (lambda one: one.change("web", {"lab": "z"}, ""), "invalid", "lab", "no lab 'z'. Known: acme."),
    "a region": (lambda one: one.create("x", {"regions": "us"}, ""), "invalid", "regions", "no provider has"),
    "a tier": (lambda one: one.create("x", {"tiers": ["smar"]}, ""), "invalid", "tiers.0", "Did you mean 'smart'?"),
    "no tier": (lambda one: one.create("x", {"tiers": 7}, ""), "invalid", "tiers", "tiers: "),
    "a setting": (lambda one: one.create("x", {"bugdets": []}, ""), "invalid", "bugdets", "Did you mean 'budgets'?"),
    "a value": (lambda one: one.change("web", {"limits": {"requests": 5}}, ""), "invalid", "limits.0.requests", "must be a rate"),
    "an expiry": (lambda one: one.change("web", {"expires": "soon"}, ""), "invalid", "expires", "must be a date or a moment"),
    "a number": (lambda one: one.change("web", {"expires": 5}, ""), "invalid", "expires", "expires: "),
    "a secret": (lambda one: one.change("web", {"sha256": HASH}, ""), "invalid", "sha256", "Rotate the key"),
    "a removed secret": (lambda one: one.change("web", {"sha256": None}, ""), "invalid", "sha256", "Rotate the key"),
    "an earlier secret": (lambda one: one.create("x", {"earlier": []}, ""), "invalid", "earlier", "Rotate the key"),
    "a revocation": (lambda one: one.create("x", {"revoked": "2026-01-01"}, ""), "invalid", "revoked", "Revoke the key"),
    "no hash": (lambda one: one.create("x", {"sha256": "abc"}, ""), "invalid", "sha256", "64 hex digits"),
    "nobody": (lambda one: one.get("wep"), "unknown", "", "Did you mean 'web'?"),
    "nobody to change": (lambda one: one.change("wep", {"admin": True}, ""), "unknown", "", "no key 'wep'"),
    "nobody to revoke": (lambda one: one.revoke("wep", ""), "unknown", "", "no key 'wep'"),
}  # fmt: skip


@pytest.mark.parametrize(("act", "kind", "setting", "words"), REFUSED.values(), ids=REFUSED)
def test_a_refusal_says_what_to_do_and_changes_nothing(
    desk: Desk, act: Callable[[KeyAdmin], object], kind: str, setting: str, words: str
) -> None:
    before = desk.store.read()
    with pytest.raises(KeyChangeError) as caught:
        act(desk.admin)
    assert (caught.value.kind, caught.value.setting) == (kind, setting)
    assert words in str(caught.value)
    assert desk.store.read() == before
    assert len(desk.rows) == 1


def test_a_revoked_key_cannot_be_changed(desk: Desk) -> None:
    desk.admin.revoke("web", "ann")
    for act in (
        lambda: desk.admin.change("web", {"admin": True}, ""),
        lambda: desk.admin.rotate("web", 0, ""),
        lambda: desk.admin.create("web", {}, ""),
    ):
        with pytest.raises(KeyChangeError, match="revoked"):
            act()


def test_a_hash_may_be_brought_with_its_earlier_ones(desk: Desk) -> None:
    earlier = [{"sha256": "c" * 64, "until": "2027-01-01"}]
    made = desk.admin.create("app", {"sha256": HASH.upper(), "earlier": earlier}, "ann")
    assert made.secret is None
    assert desk.settings("app") == {"sha256": HASH, "earlier": earlier}
    for digest in (HASH, "c" * 64):
        with pytest.raises(KeyChangeError, match="'x' has the same secret as 'app'"):
            desk.admin.create("x", {"sha256": digest}, "ann")
    with pytest.raises(KeyChangeError, match="There is a key 'app'"):
        desk.admin.create("app", {"sha256": HASH}, "ann")
    with pytest.raises(KeyChangeError, match=r"earlier\.0\.until"):
        desk.admin.create("y", {"sha256": "d" * 64, "earlier": [{"sha256": "e" * 64}]}, "ann")


def test_without_names_any_lab_may_be_named(desk: Desk) -> None:
    desk.admin.create("local", {"regions": "eu"}, "ann")
    admin = KeyAdmin(desk.store, clock=lambda: NOW)
    admin.create("app", {"labs": ["later"]}, "ann")
    assert desk.settings("app")["labs"] == ["later"]


def test_where_workers_count_apart_no_key_gets_limits(desk: Desk) -> None:
    """Such a gateway would not start again."""
    assert explain_unshared_keys(1, {}) == ""
    assert explain_unshared_keys(2, {"REDIS_URL": "redis://host"}) == ""
    reason = explain_unshared_keys(2, {})
    admin = KeyAdmin(desk.store, clock=lambda: NOW, no_limits_reason=reason)
    for settings in ({"limits": {"requests": "1/m"}}, {"budgets": {"usd": 1, "every": "day"}}):
        with pytest.raises(KeyChangeError, match=r"2 workers would each count .* Set REDIS_URL"):
            admin.create("app", settings, "ann")
    admin.create("app", {"tags": ["a"]}, "ann")
    admin.change("app", {"limits": None}, "ann")


def test_a_key_is_shown_without_a_hash(desk: Desk) -> None:
    desk.admin.change(
        "web", {"quality": 5, "limits": [{"tokens": "200k/m", "concurrency": 2}], "expires": "1h"}, ""
    )  # fmt: skip
    desk.admin.rotate("web", 60, "ann")
    row = desk.shown()
    assert (row["state"], row["source"], row["changed_by"]) == ("live", "database", "ann")
    assert (row["quality"], row["lab"], row["tenant"]) == (5, "acme", "default")
    assert row["limits"] == [{"tokens": "200000/m", "concurrency": 2}]
    assert row["earlier"] == ["2026-11-24T12:01:00Z"]
    assert "sha256" not in str(row)
    desk.now += 3601
    assert (desk.shown()["state"], desk.shown()["earlier"]) == ("expired", [])
    desk.admin.revoke("web", "ann")
    assert desk.shown()["state"] == "revoked"


def test_a_key_that_cannot_be_read_is_shown_as_invalid(desk: Desk) -> None:
    broken = {"sha256": HASH, "tiers": ["slow"], "earlier": ["x"]}
    desk.store.edit("web", lambda _: broken, lambda *_: desk.rows[0])
    row = desk.shown()
    assert (row["state"], row["name"]) == ("invalid", "web")
    assert row["problem"].startswith("tiers.0: ")
    desk.admin.revoke("web", "ann")
    assert desk.rows[-1].after == {"tiers": ["slow"], "earlier": [], "revoked": "2026-11-24T12:00:00Z"}  # fmt: skip
