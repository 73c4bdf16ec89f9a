"""Ended browser sessions: remembered while they could have lasted, by all that share them."""

import asyncio
from pathlib import Path

import pytest

from gateway.state import ended_sessions
from gateway.state.base import StateStore
from gateway.state.ended_sessions import SESSION_SECONDS, EndedSessions
from gateway.state.memory import MemoryStore

NAME, OTHER = "session-number-1", "session-number-2"


class EndedSessionClock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class LostRedis(MemoryStore):
    """A Redis that does not answer."""

    async def get(self, key: str) -> bytes | None:
        return None


@pytest.fixture
def clock() -> EndedSessionClock:
    return EndedSessionClock()


def ended(
    folder: Path, clock: EndedSessionClock, shared: StateStore | None = None
) -> EndedSessions:
    return EndedSessions(folder / "sessions", shared, clock)


def has(sessions: EndedSessions, name: str, begun: float) -> bool:
    return asyncio.run(sessions.is_ended(name, begun))


def test_an_ended_session_is_ended_for_all_processes_of_the_folder(
    tmp_path: Path, clock: EndedSessionClock
) -> None:
    sessions, other_process = ended(tmp_path, clock), ended(tmp_path, clock)
    assert not has(sessions, NAME, clock.now)
    asyncio.run(sessions.end(NAME))
    for each in (sessions, other_process):
        assert has(each, NAME, clock.now)
        assert not has(each, OTHER, clock.now)
    for file in (tmp_path / "sessions").rglob("*"):
        assert file.stat().st_mode & 0o077 == 0


def test_an_ended_session_is_ended_for_all_machines_of_a_redis(
    tmp_path: Path, clock: EndedSessionClock
) -> None:
    redis = MemoryStore(1_000_000, clock=clock)
    sessions, other_process = (
        ended(tmp_path / "1", clock, redis),
        ended(tmp_path / "2", clock, redis),
    )
    asyncio.run(sessions.end(NAME))
    assert has(other_process, NAME, clock.now)
    assert not has(other_process, OTHER, clock.now)
    assert asyncio.run(sessions.end_all())
    assert has(other_process, OTHER, clock.now)
    clock.now += 0.001
    assert not has(other_process, OTHER, clock.now)


def test_end_all_ends_earlier_sessions_and_no_later_one(
    tmp_path: Path, clock: EndedSessionClock
) -> None:
    sessions = ended(tmp_path, clock)
    asyncio.run(sessions.end(NAME))
    assert asyncio.run(sessions.end_all())
    assert has(sessions, NAME, clock.now)
    assert has(sessions, OTHER, clock.now)
    assert [file.name for file in (tmp_path / "sessions").iterdir()] == ["all"]
    clock.now += 0.001
    assert not has(sessions, OTHER, clock.now)


def test_end_all_returns_false_if_redis_cannot_tell_other_machines(
    tmp_path: Path, clock: EndedSessionClock
) -> None:
    sessions = ended(tmp_path, clock, LostRedis(1_000_000, clock=clock))
    asyncio.run(sessions.end(NAME))
    assert has(sessions, NAME, clock.now), "this machine knows"
    assert not asyncio.run(sessions.end_all())
    assert has(sessions, OTHER, clock.now)


@pytest.mark.parametrize("value", [b"soon", b"nan", b"\xff"])
def test_a_foreign_value_in_redis_ends_no_session(
    tmp_path: Path, clock: EndedSessionClock, value: bytes
) -> None:
    redis = MemoryStore(1_000_000, clock=clock)
    redis.put_nowait("session:all", value, 60.0)
    assert not has(ended(tmp_path, clock, redis), NAME, clock.now)


@pytest.mark.parametrize(
    "name", ["", "all", "../../secret", "a/b-c-d-e-f-g", "x" * 65, "caf\u00e9-1234"]
)
def test_an_invalid_session_name_opens_no_file_and_counts_as_ended(
    tmp_path: Path, clock: EndedSessionClock, name: str
) -> None:
    assert has(ended(tmp_path, clock), name, clock.now)


def test_the_file_of_a_session_is_removed_after_its_lifetime(
    tmp_path: Path, clock: EndedSessionClock
) -> None:
    sessions = ended(tmp_path, clock)
    asyncio.run(sessions.end(NAME))
    clock.now += SESSION_SECONDS + 1
    asyncio.run(sessions.end(OTHER))
    assert [file.name for file in (tmp_path / "sessions").iterdir()] == [OTHER]


def test_too_many_ended_sessions_end_all_sessions(
    tmp_path: Path, clock: EndedSessionClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder stays small, and no ended session is forgotten."""
    monkeypatch.setattr(ended_sessions, "_MAX_SESSIONS", 3)
    sessions = ended(tmp_path, clock)
    for at in range(4):
        asyncio.run(sessions.end(f"session-{at}"))
    assert [file.name for file in (tmp_path / "sessions").iterdir()] == ["all"]
    assert all(has(sessions, f"session-{at}", clock.now) for at in range(4))
