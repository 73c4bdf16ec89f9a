"""The keys of a database: changes, an outage, and the last known copy."""

import asyncio
import hashlib
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.core.errors import ProblemError
from gateway.limits.errors import KeyStoreError, NewerKeyStoreError
from gateway.limits.key_admin import KeyAdmin
from gateway.limits.key_store import followed_keys
from gateway.limits.key_store.followed_keys import FollowedKeys
from gateway.limits.key_store.last_copy import LastKeyCopy
from gateway.limits.key_store.sqlite import SqliteKeyDatabase
from gateway.limits.key_store.store import DatabaseCursor, KeyChanges, KeyRecord
from gateway.limits.keys import KeyTable, load
from gateway.state.audit import AuditRow
from tests.e2e.child import until

STALE = 3600.0
URL = "postgresql://me:hunter2@host/keys"


class Database:
    """A key database whose outage a test decides."""

    place = "the key database"

    def __init__(self) -> None:
        self.records: dict[str, KeyRecord] = {}
        self.revision = 0
        self.error: Exception | None = None
        self.failures_left = 0
        self.polls = 0
        self.closed = 0

    def put(self, name: str, **settings: object) -> None:
        self.records[name] = KeyRecord(name=name, settings=settings)
        self.revision += 1

    def read(self) -> dict[str, KeyRecord]:
        return self.records

    def read_changes(self, cursor: DatabaseCursor | None) -> KeyChanges | None:
        self.polls += 1
        if self.failures_left:
            self.failures_left -= 1
            raise KeyStoreError("the key database: server closed the connection")
        if self.error is not None:
            raise self.error
        current = DatabaseCursor("one", self.revision)
        if current == cursor:
            return None
        return KeyChanges(list(self.records.values()), current, is_whole=True)

    def edit(self, *_: object) -> KeyRecord:
        raise NotImplementedError

    def iter_rows(self, *_: object) -> Iterator[AuditRow]:
        raise NotImplementedError

    def close(self) -> None:
        self.closed += 1


class Follower:
    """Follows a database; time passes as a test says."""

    def __init__(self, folder: Path, database: Database, **options: Any) -> None:
        self.now, self.log = 1_000_000.0, list[dict[str, object]]()
        self.last_copy = LastKeyCopy(folder / "known_keys.jsonl", URL, 60.0)
        self.database = database
        self.start(**options)

    def start(self, stale: float = STALE) -> None:
        self.keys = FollowedKeys(
            self.database, self.last_copy, stale, self._note,
            clock=lambda: self.now, monotonic=lambda: self.now,
        )  # fmt: skip
        self.table: KeyTable = load(
            URL, Path(), f"env={digest('env')}", database=self.keys, clock=lambda: self.now
        )

    def _note(self, event: str, **fields: object) -> None:
        assert event == "keys"
        self.log.append(fields)

    def poll(self, seconds: float = 1.0) -> None:
        """Let seconds pass, ask the database, and let the table take what changed."""
        self.now += seconds
        self.keys.poll()
        self.look()

    def look(self) -> None:
        """Do what the event loop does once a second."""
        looks = 0

        async def sleep(_: float) -> None:
            nonlocal looks
            looks += 1
            if looks > 1:
                raise asyncio.CancelledError

        async def watch() -> None:
            with pytest.raises(asyncio.CancelledError):
                await self.table.watch(sleep)

        start, self.keys.start = self.keys.start, lambda: None  # type: ignore[method-assign]
        asyncio.run(watch())
        self.keys.start = start  # type: ignore[method-assign]

    def opens(self, secret: str) -> str:
        """Return the name of the key that a secret opens, or the kind of the refusal."""
        try:
            return self.table.find(secret).name
        except ProblemError as error:
            return error.problem.kind

    def texts(self) -> list[str]:
        return [str(row.get("error") or row["text"]) for row in self.log]


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


@pytest.fixture
def database() -> Database:
    made = Database()
    made.put("web", sha256=digest("s1"))
    return made


def test_a_change_holds_after_the_next_look(database: Database, tmp_path: Path) -> None:
    follower = Follower(tmp_path, database)
    assert not follower.table.is_open
    assert [follower.opens(secret) for secret in ("s1", "s2", "env")] == [
        "web",
        "invalid_api_key",
        "env",
    ]
    database.put("app", sha256=digest("s2"), admin=True)
    database.put("web", sha256=digest("s1"), revoked="2026-01-01")
    follower.poll()
    assert [follower.opens(secret) for secret in ("s1", "s2", "env")] == [
        "invalid_api_key",
        "app",
        "env",
    ]
    assert follower.table.has_admin
    assert follower.texts() == ["2 changed in the database"]
    follower.poll()
    assert len(follower.log) == 1


def test_keys_that_cannot_be_read_open_nothing_and_others_stay(
    database: Database, tmp_path: Path
) -> None:
    database.put("bad", sha256=digest("s2"), tiers=["slow"])
    database.put("worse", sha256="short")
    database.put("same", sha256=digest("s1"))
    database.put("empty")
    follower = Follower(tmp_path, database)
    assert follower.opens("s1") == "web"
    assert follower.opens("s2") == "invalid_api_key"
    texts = follower.texts()
    assert texts[0].startswith("bad opens nothing: tiers.0: input should be 'fast'")
    assert texts[1].startswith("worse opens nothing: a key is a name and the SHA-256")
    assert texts[2:] == ["empty opens nothing: sha256: field required", "same has the same secret as web"]  # fmt: skip


def test_settings_of_a_newer_version_are_ignored_and_reported_once(
    database: Database, tmp_path: Path
) -> None:
    database.put(
        "web", sha256=digest("s1"), crew="ops", limits={"requests": "60/m", "burst": 3},
        budgets=[{"usd": 1, "every": "day", "colour": "red"}],
    )  # fmt: skip
    database.put("app", sha256=digest("s2"), crew="ops")
    follower = Follower(tmp_path, database)
    assert [follower.opens(secret) for secret in ("s1", "s2")] == ["web", "app"]
    assert follower.table.find("s1").limits[0].requests == (60, 60.0)
    assert follower.texts() == [
        "this version does not know these settings: budgets.0.colour, crew, limits.0.burst"
    ]


def test_known_keys_stay_valid_until_they_are_stale(database: Database, tmp_path: Path) -> None:
    follower = Follower(tmp_path, database)
    database.error = KeyStoreError("the key database: connection refused")
    follower.poll(10)
    follower.poll(STALE - 10)
    assert follower.opens("s1") == "web"
    assert follower.keys.failure == "the key database: connection refused"
    assert follower.keys.describe_failure().startswith(
        "The database of keys does not answer; known keys are valid until 1970-01-12 "
    )
    follower.poll(1)
    assert [follower.opens(secret) for secret in ("s1", "nobody", "env")] == [
        "keys_unavailable",
        "keys_unavailable",
        "env",
    ]
    assert "keys.stale is over" in follower.keys.describe_failure()
    with pytest.raises(ProblemError) as caught:
        follower.table.find("s1")
    problem = caught.value.problem
    assert (problem.http_status, problem.retry_after, problem.should_retry) == (503, 5.0, None)
    assert "does not answer" in problem.message
    assert "refused" not in problem.message
    database.error = None
    follower.poll()
    assert [follower.opens(secret) for secret in ("s1", "nobody")] == ["web", "invalid_api_key"]
    assert follower.keys.describe_failure() == ""
    assert follower.texts() == [
        "the key database: connection refused",
        "the database of keys answers again",
    ]


def test_stale_admin_keys_do_not_make_this_machine_an_admin(
    database: Database, tmp_path: Path
) -> None:
    """Without any admin key the gateway trusts its own machine: that must not begin by an outage."""
    database.put("boss", sha256=digest("s2"), admin=True)
    follower = Follower(tmp_path, database)
    assert len(list(follower.table.iter_admin_hashes())) == 1
    database.error = KeyStoreError("away")
    follower.poll(STALE + 1)
    assert follower.table.has_admin
    assert list(follower.table.iter_admin_hashes()) == []
    assert len(follower.table.list_keys()) == 3


def test_an_ended_connection_is_no_outage(database: Database, tmp_path: Path) -> None:
    follower = Follower(tmp_path, database)
    database.failures_left = 1
    follower.poll()
    assert (follower.log, follower.keys.failure) == ([], "")


def test_a_bug_does_not_end_the_thread(database: Database, tmp_path: Path) -> None:
    follower = Follower(tmp_path, database)
    database.error = RuntimeError("sk-secret")
    follower.poll()
    assert follower.texts() == ["RuntimeError"]


def test_a_thread_follows_the_database(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(followed_keys, "POLL_SECONDS", 0.001)
    follower = Follower(tmp_path, database)
    assert database.closed == 1, "a connection must not pass on to a process that is forked"
    follower.keys.start()
    polls = database.polls
    until(lambda: database.polls > polls + 3, "the thread asks again and again")
    follower.keys.stop()
    until(lambda: database.closed == 2, "the thread closes its connection")


def test_a_database_that_hangs_is_away_too(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that is frozen answers nothing and ends nothing."""
    monkeypatch.setattr(followed_keys, "POLL_SECONDS", 0.001)
    follower = Follower(tmp_path, database)
    asked, thawed = threading.Event(), threading.Event()

    def hang(_: object) -> None:
        asked.set()
        assert thawed.wait(60)

    monkeypatch.setattr(database, "read_changes", hang)
    follower.keys.start()
    assert asked.wait(60)
    seen = []
    for seconds in (0, 11, STALE):
        follower.now += seconds
        seen.append((follower.keys.failure, follower.keys.refusal is None))
    late = "the key database: no answer"
    assert seen == [("", True), (late, True), (late, False)]
    follower.keys.stop()
    thawed.set()


def test_a_start_without_the_database_takes_the_last_known_copy(
    database: Database, tmp_path: Path
) -> None:
    follower = Follower(tmp_path, database)
    assert not follower.last_copy.file.exists(), "a command leaves no copy"
    follower.poll()
    text = follower.last_copy.file.read_text()
    assert stat.S_IMODE(follower.last_copy.file.stat().st_mode) == 0o600
    assert digest("s1") in text
    assert "hunter2" not in text
    database.error = KeyStoreError("the key database: connection refused")
    follower.now += STALE - 10
    follower.start()
    assert follower.opens("s1") == "web"
    assert follower.keys.age == STALE - 10
    follower.poll(11)
    assert follower.opens("s1") == "keys_unavailable", "its age counts"
    database.error = None
    follower.poll()
    assert follower.opens("s1") == "web"


def test_an_old_copy_is_no_use(database: Database, tmp_path: Path) -> None:
    follower = Follower(tmp_path, database)
    follower.poll()
    database.error = KeyStoreError("the key database: connection refused")
    for passed in (STALE + 1, -STALE - 10):  # also a clock that was set back
        follower.now += passed
        with pytest.raises(KeyStoreError, match=r"refused\. The last known copy is of 1970-01-12"):
            follower.start()


def test_without_a_copy_a_start_fails(database: Database, tmp_path: Path) -> None:
    database.error = KeyStoreError("the key database: connection refused")
    with pytest.raises(KeyStoreError, match=r"refused\. There is no last known copy in .*known_k"):
        Follower(tmp_path, database)
    (tmp_path / "known_keys.jsonl").mkdir()
    with pytest.raises(KeyStoreError, match=r"known_keys\.jsonl cannot be read: Is a directory"):
        Follower(tmp_path, database)


def test_a_copy_that_cannot_be_written_is_logged(database: Database, tmp_path: Path) -> None:
    follower = Follower(tmp_path, database)
    (tmp_path / "known_keys.jsonl").mkdir()
    follower.poll()
    assert follower.log[-1] == {"error": "Is a directory", "file": str(tmp_path / "known_keys.jsonl")}  # fmt: skip
    assert follower.opens("s1") == "web"


def record(name: str) -> KeyRecord:
    return KeyRecord(name=name, settings={"sha256": digest(name)}, created=1.5, changed_by="ann")


def test_a_copy_is_written_again_only_when_its_time_is_old(tmp_path: Path) -> None:
    copy = LastKeyCopy(tmp_path / "deep" / "copy", URL, 60.0)
    copy.keep([record("a")], 100.0)
    inode = copy.file.stat().st_ino
    copy.keep([record("a")], 120.0)
    assert copy.file.stat().st_ino == inode
    copy.keep([record("a")], 130.0)
    assert copy.file.stat().st_ino != inode
    copy.keep([record("b")], 131.0)
    kept = copy.read()
    assert kept is not None
    assert (kept.records, kept.confirmed) == ([record("b")], 131.0)
    copy.keep([record("b")], 90.0)  # the clock was set back
    kept = copy.read()
    assert kept is not None
    assert kept.confirmed == 90.0
    assert [one.name for one in (tmp_path / "deep").iterdir()] == ["copy"]


def test_a_copy_of_another_database_or_a_torn_one_is_none(tmp_path: Path) -> None:
    copy = LastKeyCopy(tmp_path / "copy", URL, 60.0)
    copy.keep([record("a")], 100.0)
    assert LastKeyCopy(tmp_path / "copy", URL + "2", 60.0).read() is None
    text = copy.file.read_text()
    for torn in ("", "{}\n", text[:-5], text.replace("ann", "bob")):
        copy.file.write_text(torn)
        assert copy.read() is None
    copy.keep([record("a")], 200.0)
    assert copy.read() is not None
    assert LastKeyCopy(tmp_path / "copy", URL.replace("hunter2", "new"), 60.0).read() is not None


def test_a_write_that_fails_leaves_no_file(tmp_path: Path) -> None:
    copy = LastKeyCopy(tmp_path / "copy", URL, 60.0)
    copy.keep([record("a")], 100.0)

    class Full(Exception):
        """The disk is full."""

    def fail(*_: object) -> None:
        raise Full

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "replace", fail)
        with pytest.raises(Full):
            copy.keep([record("b")], 100.0)
    assert [one.name for one in tmp_path.iterdir()] == ["copy"]


def test_a_real_database_is_followed(tmp_path: Path) -> None:
    file = tmp_path / "keys.db"
    admin = KeyAdmin(SqliteKeyDatabase(file, creates=True), clock=lambda: 0.0)
    first = admin.create("web", {}, "me")
    log: list[str] = []
    keys = FollowedKeys(
        SqliteKeyDatabase(file, creates=True), LastKeyCopy(tmp_path / "copy", "u", 60.0), STALE,
        lambda event, **_: log.append(event),
    )  # fmt: skip
    table = load("u", tmp_path, "", database=keys)
    assert table.find(first.secret).name == "web"
    second = admin.rotate("web", 60, "me")
    keys.poll()
    assert len(keys.secrets) == 2
    assert bytes.fromhex(digest(str(second.secret))) in keys.secrets


def test_a_start_on_a_newer_database_fails(tmp_path: Path) -> None:
    """The last known copy is for outages, and this is none."""
    database = Database()
    database.error = NewerKeyStoreError("a newer version made it")
    with pytest.raises(NewerKeyStoreError):
        Follower(tmp_path, database)
