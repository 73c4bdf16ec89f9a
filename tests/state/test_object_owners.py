"""The owners of objects, as the event loop asks for them."""

import asyncio
import threading
from pathlib import Path

import pytest

from gateway.core.call import Key
from gateway.core.errors import ProblemError
from gateway.core.owned_object import OwnedObject
from gateway.state.object_owners import ObjectOwners, open_object_database

WEB = Key(name="web")


def make(id: str, name: str = "web") -> OwnedObject:
    return OwnedObject(
        id=id, kind="file", tenant="default", key=name, provider="openai", account="main",
        created_at=1.0,
    )  # fmt: skip


async def test_what_one_process_adds_another_finds(tmp_path: Path) -> None:
    owners, others = (
        ObjectOwners(open_object_database("sqlite:///ledger.db", tmp_path), max_objects=100)
        for _ in range(2)
    )
    await owners.add([make("file-1")])
    assert await others.find(WEB, ["file-1"]) == [make("file-1")]
    assert await others.find(Key(name="app"), ["file-1"]) == []
    assert await others.change_facts(make("file-1"), {"bytes": 1}) is True
    assert [item.facts for item in await owners.find(WEB, ["file-1"])] == [{"bytes": 1}]
    await others.remove([make("file-1")])
    assert await owners.find(WEB, ["file-1"]) == []
    await owners.close()
    await others.close()


async def test_a_client_that_leaves_loses_no_object(tmp_path: Path) -> None:
    owners = ObjectOwners(open_object_database("sqlite:///ledger.db", tmp_path), max_objects=9)
    is_free = threading.Event()
    owners._executor.submit(is_free.wait)
    task = asyncio.create_task(owners.add([make("file-1")]))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    is_free.set()
    assert await owners.find(WEB, ["file-1"]) == [make("file-1")]
    await owners.close()


async def test_a_key_has_at_most_so_many_objects(tmp_path: Path) -> None:
    notes: list[str] = []
    times = iter(range(1000))
    owners = ObjectOwners(
        open_object_database("sqlite:///ledger.db", tmp_path), max_objects=30, note=notes.append,
        clock=lambda: float(next(times)),
    )  # fmt: skip
    await owners.add([make("file-app", "app")])
    for number in range(198):
        await owners.add([make(f"file-{number}")])
    assert len(notes) == 1
    assert "forgot 69 objects" in notes[0]
    assert "passthrough.max_objects" in notes[0]
    await owners.add([make("file-198")])
    ids = [f"file-{number}" for number in range(199)]
    newest = {item.id for item in await owners.find(WEB, ids)}
    assert newest == {f"file-{number}" for number in range(169, 199)}
    assert len(await owners.find(Key(name="app"), ["file-app"])) == 1
    await owners.close()


async def test_a_call_is_refused_while_nobody_knows_whose_objects_it_names(tmp_path: Path) -> None:
    notes: list[str] = []
    (tmp_path / "objects.db").write_bytes(b"not a database" * 100)
    owners = ObjectOwners(
        open_object_database("sqlite:///ledger.db", tmp_path), max_objects=9, note=notes.append
    )
    with pytest.raises(ProblemError) as raised:
        await owners.find(WEB, ["file-1"])
    assert raised.value.problem.http_status == 503
    assert raised.value.problem.should_retry is None
    assert str(tmp_path) not in raised.value.problem.message
    assert notes == [f"the database of owned objects {tmp_path}/objects.db: file is not a database"]
