"""Test the connection limit: idle connections make room, and surplus ones get a refusal."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.server.connections import ConnectionLimit, compute_limit


@dataclass(eq=False)
class FakeConnection:
    dropped: list["FakeConnection"] = field(default_factory=list)

    def drop(self) -> None:
        self.dropped.append(self)


class ConnectionClock:
    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


@pytest.mark.parametrize(
    ("files", "connections"),
    [(None, 10_000), (65_536, 10_000), (20_000, 7980), (1024, 390), (256, 83), (10, 8)],
)
def test_the_file_limit_sets_the_connection_limit(files: int | None, connections: int) -> None:
    assert compute_limit(files) == connections


def test_a_new_connection_replaces_the_one_that_was_idle_longest() -> None:
    clock, first, second, third = (
        ConnectionClock(),
        FakeConnection(),
        FakeConnection(),
        FakeConnection(),
    )
    limit = ConnectionLimit(2, clock)
    assert (limit.add(first), limit.add(second)) == (True, True)
    limit.mark_busy(first)
    clock.time = 5.0
    limit.mark_idle(first)  # it has been idle for less time than the other
    clock.time = 5.9
    assert limit.add(third)
    assert (first.dropped, second.dropped) == ([], [second])
    limit.remove(second)
    assert limit.served_count == 2


def test_with_all_connections_busy_or_new_the_next_is_refused() -> None:
    clock, first, second = ConnectionClock(), FakeConnection(), FakeConnection()
    limit = ConnectionLimit(2, clock)
    limit.add(first)
    limit.mark_busy(first)
    limit.add(second)
    clock.time = 0.5
    assert not limit.add(FakeConnection())
    limit.mark_busy(second)
    clock.time = 9.0
    third = FakeConnection()
    assert not limit.add(third)
    limit.mark_idle(third)  # its refusal does not make it a served connection
    limit.remove(second)
    assert limit.add(FakeConnection())
    assert (first.dropped, second.dropped, third.dropped) == ([], [], [])


def test_of_too_many_refused_connections_the_oldest_are_dropped() -> None:
    """However many wait, health probes still get a connection and an answer."""
    limit, served = ConnectionLimit(8, ConnectionClock()), [FakeConnection() for _ in range(8)]
    for connection in served:
        limit.add(connection)
    refused = [FakeConnection() for _ in range(20)]
    assert not any(limit.add(connection) for connection in refused)
    assert [bool(connection.dropped) for connection in refused] == [True] * 16 + [False] * 4
    for connection in refused:
        limit.remove(connection)
    assert (limit.served_count, limit._refused_connections, limit._dropped_connections) == (
        8,
        {},
        set(),
    )


MOVES = st.lists(
    st.tuples(
        st.sampled_from(["come", "mark_busy", "mark_idle", "remove", "wait"]), st.integers(0, 30)
    )
)


@given(MOVES)
def test_the_connection_limit_counts_correctly_in_any_order(moves: list[tuple[str, int]]) -> None:
    clock, connections, removed = ConnectionClock(), list[FakeConnection](), set[FakeConnection]()
    limit = ConnectionLimit(5, clock)
    for action, number in moves:
        if action == "wait":
            clock.time += number / 10
        elif action == "come":
            connections.append(FakeConnection())
            limit.add(connections[-1])
        elif connections:
            connection = connections[number % len(connections)]
            if connection in removed:
                continue
            getattr(limit, action)(connection)
            if action == "remove":
                removed.add(connection)
        assert limit.served_count <= 5
        assert len(limit._refused_connections) <= 4
    for connection in set(connections) - removed:
        limit.remove(connection)
    assert (
        limit.served_count,
        limit._idle_since,
        limit._refused_connections,
        limit._dropped_connections,
    ) == (0, {}, {}, set())
