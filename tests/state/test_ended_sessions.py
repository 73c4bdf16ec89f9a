"""Ended browser sessions: remembered while they could have lasted, by all that share them."""

import asyncio
from pathlib import Path

import pytest

from gateway.state import ended_sessions
from gateway.state.base import StateStore
from gateway.state.ended_sessions import SESSION_SECONDS, EndedSessions
from gateway.state.memory import MemoryStore

NAME, OTHER = "session-number-1", "session-number-2"


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class Lost(MemoryStore):
    """A Redis that does not answer."""

    async def get(self, key: str) -> bytes | None:
        return None


@pytest.fixture
def clock() -> Clock:
    return Clock()


def ended(folder: Path, clock: Clock, shared: StateStore | None = None) -> EndedSessions:
    return EndedSessions(folder / "sessions", shared, clock)


def has(one: EndedSessions, name: str, begun: float) -> bool:
    return asyncio.run(one.is_ended(name, begun))


def test_what_was_ended_is_ended_for_all_that_share_the_folder(
    tmp_path: Path, clock: Clock
) -> None:
    one, two = ended(tmp_path, clock), ended(tmp_path, clock)
    assert not has(one, NAME, clock.now)
    asyncio.run(one.end(NAME))
    for each in (one, two):
        assert has(each, NAME, clock.now)
        assert not has(each, OTHER, clock.now)
    for file in (tmp_path / "sessions").rglob("*"):
        assert file.stat().st_mode & 0o077 == 0


def test_what_was_ended_is_ended_for_all_that_share_a_redis(tmp_path: Path, clock: Clock) -> None:
    redis = MemoryStore(1_000_000, clock=clock)
    one, two = ended(tmp_path / "1", clock, redis), ended(tmp_path / "2", clock, redis)
    asyncio.run(one.end(NAME))
    assert has(two, NAME, clock.now)
    assert not has(two, OTHER, clock.now)
    assert asyncio.run(one.end_all())
    assert has(two, OTHER, clock.now)
    clock.now += 0.001
    assert not has(two, OTHER, clock.now)


def test_all_sessions_end_that_have_begun_and_none_that_begins_later(
    tmp_path: Path, clock: Clock
) -> None:
    one = ended(tmp_path, clock)
    asyncio.run(one.end(NAME))
    assert asyncio.run(one.end_all())
    assert has(one, NAME, clock.now)
    assert has(one, OTHER, clock.now)
    assert [file.name for file in (tmp_path / "sessions").iterdir()] == ["all"]
    clock.now += 0.001
    assert not has(one, OTHER, clock.now)


def test_whoever_ends_all_learns_that_other_machines_may_not_know(
    tmp_path: Path, clock: Clock
) -> None:
    one = ended(tmp_path, clock, Lost(1_000_000, clock=clock))
    asyncio.run(one.end(NAME))
    assert has(one, NAME, clock.now), "this machine knows"
    assert not asyncio.run(one.end_all())
    assert has(one, OTHER, clock.now)


@pytest.mark.parametrize("value", [b"soon", b"nan", b"\xff"])
def test_what_somebody_else_wrote_ends_nothing(tmp_path: Path, clock: Clock, value: bytes) -> None:
    redis = MemoryStore(1_000_000, clock=clock)
    redis.put_nowait("session:all", value, 60.0)
    assert not has(ended(tmp_path, clock, redis), NAME, clock.now)


@pytest.mark.parametrize(
    "name", ["", "all", "../../secret", "a/b-c-d-e-f-g", "x" * 65, "caf\u00e9-1234"]
)
def test_what_is_no_name_of_a_session_opens_no_file(
    tmp_path: Path, clock: Clock, name: str
) -> None:
    assert has(ended(tmp_path, clock), name, clock.now)


def test_files_go_when_their_sessions_are_over(tmp_path: Path, clock: Clock) -> None:
    one = ended(tmp_path, clock)
    asyncio.run(one.end(NAME))
    clock.now += SESSION_SECONDS + 1
    asyncio.run(one.end(OTHER))
    assert [file.name for file in (tmp_path / "sessions").iterdir()] == [OTHER]


def test_more_than_can_be_kept_end_all(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder stays small, and no ended session is forgotten."""
    monkeypatch.setattr(ended_sessions, "_MAX_SESSIONS", 3)
    one = ended(tmp_path, clock)
    for at in range(4):
        asyncio.run(one.end(f"session-{at}"))
    assert [file.name for file in (tmp_path / "sessions").iterdir()] == ["all"]
    assert all(has(one, f"session-{at}", clock.now) for at in range(4))
