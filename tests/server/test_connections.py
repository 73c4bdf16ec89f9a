"""Test the connection limit: idle connections make room, and surplus ones get a refusal."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.server.connections import ConnectionLimit, compute_limit


@dataclass(eq=False)
class One:
    dropped: list["One"] = field(default_factory=list)

    def drop(self) -> None:
        self.dropped.append(self)


class Now:
    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


@pytest.mark.parametrize(
    ("files", "connections"),
    [(None, 10_000), (65_536, 10_000), (20_000, 7980), (1024, 390), (256, 83), (10, 8)],
)
def test_how_many_go_with_so_many_files(files: int | None, connections: int) -> None:
    assert compute_limit(files) == connections


def test_one_too_many_takes_the_place_of_the_one_that_was_idle_longest() -> None:
    now, one, two, three = Now(), One(), One(), One()
    lines = ConnectionLimit(2, now)
    assert (lines.add(one), lines.add(two)) == (True, True)
    lines.mark_busy(one)
    now.time = 5.0
    lines.mark_idle(one)  # it has been idle for less time than the other
    now.time = 5.9
    assert lines.add(three)
    assert (one.dropped, two.dropped) == ([], [two])
    lines.remove(two)
    assert lines.served_count == 2


def test_where_all_are_busy_or_new_the_next_is_refused() -> None:
    now, one, two = Now(), One(), One()
    lines = ConnectionLimit(2, now)
    lines.add(one)
    lines.mark_busy(one)
    lines.add(two)
    now.time = 0.5
    assert not lines.add(One())
    lines.mark_busy(two)
    now.time = 9.0
    third = One()
    assert not lines.add(third)
    lines.mark_idle(third)  # its refusal does not make it a served connection
    lines.remove(two)
    assert lines.add(One())
    assert (one.dropped, two.dropped, third.dropped) == ([], [], [])


def test_of_those_that_are_refused_the_first_go_when_they_are_too_many() -> None:
    """However many wait, health probes still get a connection and an answer."""
    lines, here = ConnectionLimit(8, Now()), [One() for _ in range(8)]
    for one in here:
        lines.add(one)
    storm = [One() for _ in range(20)]
    assert not any(lines.add(one) for one in storm)
    assert [bool(one.dropped) for one in storm] == [True] * 16 + [False] * 4
    for one in storm:
        lines.remove(one)
    assert (lines.served_count, lines._refused_connections, lines._dropped_connections) == (
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
def test_whatever_comes_and_goes_it_adds_up(moves: list[tuple[str, int]]) -> None:
    now, here, gone = Now(), list[One](), set[One]()
    lines = ConnectionLimit(5, now)
    for what, at in moves:
        if what == "wait":
            now.time += at / 10
        elif what == "come":
            here.append(One())
            lines.add(here[-1])
        elif here:
            one = here[at % len(here)]
            if one in gone:
                continue
            getattr(lines, what)(one)
            if what == "remove":
                gone.add(one)
        assert lines.served_count <= 5
        assert len(lines._refused_connections) <= 4
    for one in set(here) - gone:
        lines.remove(one)
    assert (
        lines.served_count,
        lines._idle_since,
        lines._refused_connections,
        lines._dropped_connections,
    ) == (0, {}, {}, set())
