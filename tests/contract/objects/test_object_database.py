"""The table of owned objects: whose objects it finds, and what it forgets."""

import multiprocessing
import os
import signal
import stat
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from gateway.core.call import Key
from gateway.core.owned_object import OwnedObject
from gateway.state.errors import ObjectStoreError
from gateway.state.object_owners import open_object_database
from gateway.state.object_store.database import ObjectDatabase
from tests.contract.objects.conftest import Open
from tests.ledger.postgres import PostgresServer

WEB, APP = Key(name="web"), Key(name="app")
DAY = 86_400.0


def make(id: str, owner: Key = WEB, **changes: Any) -> OwnedObject:
    fields: dict[str, Any] = {
        "kind": "file", "provider": "openai", "account": "main", "created_at": 1.0, **changes,
    }  # fmt: skip
    return OwnedObject(id=id, tenant=owner.tenant, key=owner.name, **fields)


def list_ids(database: ObjectDatabase, owner: Key) -> list[str]:
    query = "SELECT id FROM owned_objects WHERE kind = 'file' AND tenant = ? AND key_name = ?"
    with database.connect() as connection:
        rows = connection.execute(database.adapt(query), [owner.tenant, owner.name]).fetchall()
    return [id for (id,) in rows]


def ask(database: ObjectDatabase, sql: str) -> list[Any]:
    with database.connect() as connection:
        cursor = connection.execute(sql)
        return list(cursor.fetchall()) if cursor.description else []


def test_a_key_finds_its_own_objects_only(opened: Open) -> None:
    mine = make("file-1", facts={"bytes": 120, "purpose": "batch", "name": "ü\0"}, expires_at=9.0)
    opened().add([mine, make("file-2", APP), make("file-3", Key(name="web", tenant="b"))], 1.0)
    ids = ["file-1", "file-2", "file-3", "file-4"]
    assert opened().find(WEB, ids, 1.0) == [mine]
    assert [item.key for item in opened().find(APP, ids, 1.0)] == ["app"]
    assert opened().find(Key(name="new"), ids, 1.0) == []
    assert opened().find(WEB, [], 1.0) == []
    assert opened().find(WEB, ids, 9.0) == [], "the provider has deleted it"


def test_one_id_may_be_an_object_of_each_account(opened: Open) -> None:
    database = opened()
    database.add([make("batch_1"), make("batch_1", APP, account="other")], 1.0)
    database.add([make("batch_1", provider="azure")], 1.0)
    places = {(it.provider, it.account) for it in database.find(WEB, ["batch_1"], 1.0)}
    assert places == {("openai", "main"), ("azure", "main")}
    assert [it.account for it in database.find(APP, ["batch_1"], 1.0)] == ["other"]


def test_an_id_that_a_provider_gives_anew_belongs_to_its_new_key(opened: Open) -> None:
    database, old = opened(), make("files/logo")
    database.add([old], 1.0)
    database.add([make("files/logo", APP)], 2.0)
    assert database.find(WEB, ["files/logo"], 2.0) == []
    database.remove([old])  # a late answer to the former key's deletion
    assert len(database.find(APP, ["files/logo"], 2.0)) == 1


def test_an_object_that_an_answer_shows_takes_no_place(opened: Open) -> None:
    database = opened()
    database.add([make("cntr_1")], 1.0)
    database.add([make("cntr_1", APP), make("cntr_2", APP)], 2.0, replaces=False)
    assert list_ids(database, WEB) == ["cntr_1"]
    assert list_ids(database, APP) == ["cntr_2"]


def test_a_deleted_object_is_removed_alone(opened: Open) -> None:
    database = opened()
    database.add([make(f"file-{n}") for n in range(3)], 1.0)
    database.add([make("file-1", provider="azure")], 1.0)
    database.remove([make("file-1")])
    ids = ["file-0", "file-1", "file-2"]
    places = {(it.provider, it.id) for it in opened().find(WEB, ids, 1.0)}
    assert places == {("openai", "file-0"), ("openai", "file-2"), ("azure", "file-1")}


def test_of_two_changes_of_facts_one_succeeds(opened: Open) -> None:
    item = make("batch_1", facts={"state": "open"})
    opened().add([item], 1.0)
    assert opened().change_facts(item, {"state": "settled", "by": 1}) is True
    assert opened().change_facts(item, {"state": "settled", "by": 2}) is False
    (changed,) = opened().find(WEB, ["batch_1"], 1.0)
    assert changed.facts == {"state": "settled", "by": 1}
    assert opened().change_facts(changed, {}) is True


def test_each_key_keeps_the_objects_that_it_used_last(opened: Open) -> None:
    database = opened()
    database.add([make(f"file-{n}") for n in range(6)], 0.0)
    database.add([make("file-a", APP), make("file-b", APP, expires_at=2 * DAY)], 0.0)
    database.find(WEB, ["file-0"], 0.5 * DAY)  # within a day of its last use: not noted
    database.find(WEB, ["file-1"], 1.5 * DAY)
    database.add([make("batch_1", kind="batch")], 0.0)
    owners = [("default", key, "file") for key in ("web", "app", "none")]
    assert database.prune(owners, 6, 2 * DAY) == 0
    assert list_ids(database, APP) == ["file-a"], "the other one has expired"
    assert database.prune(owners, 1, 2 * DAY) == 5
    assert list_ids(database, WEB) == ["file-1"]
    assert list_ids(database, APP) == ["file-a"]
    assert len(database.find(WEB, ["batch_1"], 2 * DAY)) == 1, "each kind has its own bound"


@pytest.mark.parametrize("id", ["file-\0", "x" * 513])
def test_an_id_that_no_provider_makes_is_neither_kept_nor_asked_for(opened: Open, id: str) -> None:
    database = opened()
    database.add([make(id), make("file-1")], 1.0)
    assert database.find(WEB, [id], 1.0) == []
    assert list_ids(database, WEB) == ["file-1"]


def test_a_call_may_name_many_ids(opened: Open) -> None:
    database = opened()
    database.add([make(f"file-{n}") for n in range(1200)], 1.0)
    assert len(database.find(WEB, (f"file-{n}" for n in range(2000)), 1.0)) == 1200


def add_and_die(store_url: str, data: Path, at: Connection) -> None:
    open_object_database(store_url, data).add([make("file-1")], 1.0)
    at.send("added")
    os.kill(os.getpid(), signal.SIGKILL)


def test_an_object_outlives_a_process_that_is_killed(store_url: str, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=add_and_die, args=(store_url, tmp_path / "data", there))
    process.start()
    assert here.recv() == "added"
    process.join(30)
    database = open_object_database(store_url, tmp_path / "data")
    assert list_ids(database, WEB) == ["file-1"]
    database.close()


def add_many(store_url: str, data: Path, number: int) -> None:
    database = open_object_database(store_url, data)
    for n in range(20):
        database.add([make(f"file-{number}-{n}")], 1.0)
    database.close()


def test_processes_begin_and_add_at_once(store_url: str, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=add_many, args=(store_url, tmp_path / "data", number))
        for number in range(3)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    database = open_object_database(store_url, tmp_path / "data")
    assert len(list_ids(database, WEB)) == 60
    database.close()


def test_tables_of_a_newer_version_are_left_alone(opened: Open) -> None:
    database = opened()
    database.add([make("file-1")], 1.0)
    ask(database, "UPDATE owned_object_store SET version = 99")
    with pytest.raises(ObjectStoreError, match="made by a newer version of tiergate: update"):
        opened().find(WEB, ["file-1"], 1.0)


def test_a_file_is_only_for_its_owner(tmp_path: Path) -> None:
    database = open_object_database("sqlite:///elsewhere/ledger.db", tmp_path / "data")
    database.add([make("file-1")], 1.0)
    database.close()
    assert stat.S_IMODE((tmp_path / "data" / "objects.db").stat().st_mode) == 0o600


def test_a_server_that_restarts_is_asked_again(postgres: PostgresServer, tmp_path: Path) -> None:
    database = open_object_database(postgres.make_schema(), tmp_path)
    database.add([make("file-1")], 1.0)
    postgres.stop()
    with pytest.raises(ObjectStoreError, match="the database of owned objects: "):
        database.find(WEB, ["file-1"], 1.0)
    postgres.start()
    assert len(database.find(WEB, ["file-1"], 1.0)) == 1
    database.close()


def test_errors_name_no_password(tmp_path: Path) -> None:
    url = "postgresql://tiergate:sesame@localhost:1/ledger?connect_timeout=1"
    with pytest.raises(ObjectStoreError) as raised:
        open_object_database(url, tmp_path).find(WEB, ["file-1"], 1.0)
    assert "sesame" not in str(raised.value)
    with pytest.raises(ObjectStoreError, match="the URL of the database of owned objects cannot"):
        open_object_database("postgresql://tiergate:p@ss@host/x", tmp_path)


def test_objects_of_other_keys_are_told_from_unknown_ones(opened: Open) -> None:
    database = opened()
    database.add([make("file-1"), make("file-2", APP), make("file-3", APP, expires_at=1.0)], 0.5)
    ids = ["file-1", "file-2", "file-3", "file-4", "file-\0"]
    assert database.find_others(WEB, ids, 2.0) == {"file-2"}
    assert database.find_others(APP, ids, 2.0) == {"file-1"}


def test_jobs_that_have_not_ended_are_listed_for_all_keys(opened: Open) -> None:
    database = opened()

    def job(id: str, state: str, kind: str = "batch", at: float = 1.0) -> OwnedObject:
        return OwnedObject(
            id=id, kind=kind, tenant="t", key=id, provider="p", account="a", created_at=at,
            facts={"job": {"state": state}},
        )  # fmt: skip

    jobs = [job("b", "open", at=2.0), job("a", "open", "fine_tuning_job"), job("c", "ended")]
    database.add([*jobs, job("d", "open", "file")], 1.0)
    assert [item.id for item in database.list_with_open_jobs(10)] == ["a", "b"]
    assert [item.id for item in database.list_with_open_jobs(1)] == ["a"]
