"""A key database: what it holds, and how others learn of a change."""

import multiprocessing
import stat
from pathlib import Path
from typing import Any

import pytest

from gateway.limits.errors import KeyChangeError, KeyStoreError
from gateway.limits.key_admin import KeyAdmin
from gateway.limits.key_store.store import (
    DatabaseCursor,
    DescribeChange,
    KeyDatabase,
    KeyRecord,
    open_database,
)
from gateway.state.audit import AuditQuery, AuditRow
from tests.contract.keys.conftest import Open
from tests.ledger.postgres import PostgresServer

HASH = "a" * 64


def put(database: KeyDatabase, name: str, who: str = "ann", **settings: object) -> KeyRecord:
    return database.edit(name, lambda _: {"sha256": HASH, **settings}, describe(name, who))


def describe(name: str, who: str, act: str = "key.change", at: float = 1.5) -> DescribeChange:
    row = AuditRow(at=at, who=who, via="api", act=act, subject=name, host="a", after={"labs": "ü"})
    return lambda *_: row


def iter_acts(database: KeyDatabase, limit: int = 9, **query: Any) -> list[str | None]:
    return [row.subject for row in database.iter_rows(AuditQuery(**query), limit)]


def ask(database: Any, sql: str) -> list[Any]:
    with database.connect() as connection:
        cursor = connection.execute(sql)
        return list(cursor.fetchall()) if cursor.description else []


def test_a_key_is_kept_with_its_times_and_its_author(opened: Open) -> None:
    first = put(opened(), "web", labs=["acme"], limits={"requests": "60/m"})
    put(opened(), "app", who="bob")
    records = opened().read()
    assert list(records) == ["app", "web"]
    assert records["web"] == first
    assert first.settings == {"sha256": HASH, "labs": ["acme"], "limits": {"requests": "60/m"}}
    assert first.changed_by == "ann"
    second = put(opened(), "web", who="bob", tags="new")
    assert (second.created, second.changed_by) == (first.created, "bob")
    assert first.changed is not None
    assert second.changed is not None
    assert second.changed >= first.changed


def test_only_what_changed_is_read_again(opened: Open) -> None:
    follower = opened(keeps_connection=True)
    whole = follower.read_changes(None)
    assert whole is not None
    assert (whole.records, whole.is_whole) == ([], True)
    assert follower.read_changes(whole.cursor) is None
    put(opened(), "web")
    put(opened(), "app")
    changes = follower.read_changes(whole.cursor)
    assert changes is not None
    assert ({one.name for one in changes.records}, changes.is_whole) == ({"web", "app"}, False)
    put(opened(), "app", tags="new")
    changes = follower.read_changes(changes.cursor)
    assert changes is not None
    assert [one.name for one in changes.records] == ["app"]
    assert follower.read_changes(changes.cursor) is None
    follower.close()
    assert follower.read_changes(changes.cursor) is None
    follower.close()
    follower.close()


def test_a_database_that_was_restored_or_replaced_is_read_whole(opened: Open) -> None:
    put(opened(), "web")
    current = opened().read_changes(None)
    assert current is not None
    for cursor in (
        DatabaseCursor("another", current.cursor.revision),
        current.cursor._replace(revision=current.cursor.revision + 7),
    ):
        changes = opened().read_changes(cursor)
        assert changes is not None
        assert (changes.is_whole, len(changes.records)) == (True, 1)


def test_a_refused_change_leaves_nothing_behind(opened: Open) -> None:
    put(opened(), "web")
    before = opened().read_changes(None)

    def refuse(_: KeyRecord | None) -> dict[str, object]:
        raise KeyChangeError("no")

    with pytest.raises(KeyChangeError):
        opened().edit("web", refuse, describe("web", "bob"))
    keep = describe("web", "bob")
    same = opened().edit("web", lambda record: record.settings if record else {}, keep)
    assert same.changed_by == "ann"
    after = opened().read_changes(None)
    assert before is not None
    assert after is not None
    assert after.records == before.records
    assert iter_acts(opened()) == ["web"]


def test_a_change_and_its_row_of_the_audit_are_one_transaction(opened: Open) -> None:
    def fail(*_: object) -> AuditRow:
        raise OSError(28, "No space left on device")

    put(opened(), "web")
    with pytest.raises(OSError, match="No space"):
        opened().edit("web", lambda _: {"sha256": HASH, "tags": "a"}, fail)
    taken = "INSERT INTO client_key_audit VALUES (2, 0, '', '', '', '[')"  # the next number
    ask(opened(), taken)
    with pytest.raises(KeyStoreError):
        put(opened(), "web", tags="b")
    assert opened().read()["web"].settings == {"sha256": HASH}
    assert iter_acts(opened()) == ["web"]


def test_rows_of_the_audit_are_chosen_as_those_of_a_file(opened: Open) -> None:
    acts = [("a", "ann", "key.create"), ("a", "bob", "key.change"), ("b", "bob", "keys")]
    for at, (name, who, act) in enumerate(acts):
        settings = {act: ""}
        opened().edit(name, lambda _: settings, describe(name, who, act, at))  # noqa: B023 - called at once
    rows = list(opened().iter_rows(AuditQuery(), 9))[::-1]
    assert [(row.subject, row.who, row.act) for row in rows] == acts
    for values in (
        {}, {"since": 1.0}, {"until": 1.0}, {"since": 1.0, "until": 2.0}, {"who": "bob"}, {"act": "key"},
        {"act": "key.change"}, {"act": "ke_"}, {"subject": "a"}, {"who": "bob", "subject": "a"}, {"who": "' OR 1"},
    ):  # fmt: skip
        query = AuditQuery(**values)
        expected = [row for row in reversed(rows) if query.matches(row)]
        assert list(opened().iter_rows(query, 9)) == expected, values
    assert iter_acts(opened(), limit=2) == ["b", "a"]


def test_a_reader_makes_no_tables(opened: Open) -> None:
    reader = opened(creates=False)
    assert reader.read() == {}
    assert iter_acts(reader) == []
    changes = reader.read_changes(None)
    assert changes is not None
    assert (changes.records, changes.is_whole) == ([], True)
    put(opened(), "web")
    assert list(reader.read()) == ["web"]
    assert opened(creates=False).read_changes(None) is not None


def test_tables_that_another_gateway_makes_at_the_same_time_stay(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(opened(), "web")
    late = opened()
    monkeypatch.setattr(late, "has_tables", lambda _: False)  # as it was a moment before
    assert list(late.read()) == ["web"]


def test_broken_settings_do_not_hide_other_keys(opened: Open) -> None:
    database = opened()
    put(database, "web")
    put(database, "app")
    ask(database, "UPDATE client_keys SET settings = '[' WHERE name = 'web'")
    assert {name: one.settings for name, one in database.read().items()} == {
        "app": {"sha256": HASH},
        "web": {},
    }


def test_tables_of_a_newer_version_are_refused(opened: Open) -> None:
    database = opened()
    database.read()
    ask(database, "UPDATE client_key_store SET version = 2")
    with pytest.raises(KeyStoreError, match="newer version of tiergate"):
        opened().read()
    ask(database, "DELETE FROM client_key_store")
    with pytest.raises(KeyStoreError, match="lost the row"):
        database.read_changes(None)


def test_an_error_of_the_database_is_one_of_keys(opened: Open) -> None:
    database = opened()
    database.read()
    ask(database, "DROP TABLE client_keys")
    with pytest.raises(KeyStoreError, match="the key database"):
        database.read()


def _add(url: str, folder: str, worker: int) -> None:
    admin = KeyAdmin(open_database(url, Path(folder)), clock=lambda: 0.0)
    for number in range(5):
        admin.create(f"w{worker}-{number}", {}, "me")


def test_concurrent_changes_lose_no_key(url: str, tmp_path: Path, opened: Open) -> None:
    """All processes race to make the tables, too."""
    spawn = multiprocessing.get_context("spawn")
    started = [spawn.Process(target=_add, args=(url, str(tmp_path / "data"), n)) for n in range(3)]
    for process in started:
        process.start()
    for process in started:
        process.join(60)
    assert [process.exitcode for process in started] == [0, 0, 0]
    assert sorted(opened().read()) == [f"w{w}-{n}" for w in range(3) for n in range(5)]
    changes = opened().read_changes(None)
    assert changes is not None
    assert changes.cursor.revision == 15


def test_a_file_is_its_owners_alone_and_is_not_made_anew(tmp_path: Path) -> None:
    database = open_database("sqlite:///deep/keys.db", tmp_path)
    put(database, "web")
    file = tmp_path / "deep" / "keys.db"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.unlink()
    with pytest.raises(KeyStoreError, match=r"keys\.db: unable to open"):
        database.read()
    assert not file.exists()


def test_a_file_in_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(KeyStoreError, match=r"keys\.db: (Not a directory|File exists)"):
        open_database(f"sqlite:///{tmp_path}/file/keys.db", tmp_path).read()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://me:hunter2@127.0.0.1:1/x", "the key database: connection failed"),
        ("postgresql://me:hunt@er2@host/x", "the URL of the key database cannot be read"),
    ],
)
def test_no_error_shows_the_password(tmp_path: Path, url: str, words: str) -> None:
    with pytest.raises(KeyStoreError) as caught:
        open_database(url, tmp_path).read()
    assert words in str(caught.value)
    assert "hunt" not in str(caught.value)


def test_a_server_that_restarts_is_found_again(postgres: PostgresServer, tmp_path: Path) -> None:
    follower = open_database(postgres.url(), tmp_path, keeps_connection=True)
    changes = follower.read_changes(None)
    assert changes is not None
    postgres.stop()
    for _ in range(2):
        with pytest.raises(KeyStoreError):
            follower.read_changes(changes.cursor)
    postgres.start()
    assert follower.read_changes(changes.cursor) is None
    follower.close()
