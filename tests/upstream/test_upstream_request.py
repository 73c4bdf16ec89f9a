"""Test how long a call may take, by the timeout that its client announces."""

import asyncio
from math import inf

import pytest

from gateway.core.call import Call
from gateway.core.target import Timers
from gateway.upstream.upstream_request import compute_call_times, compute_head_seconds


def call(patience: float | None) -> Call:
    return Call(
        id="tg-1", dialect="openai-chat", operation="generate", body=b"", client_timeout=patience,
        received_at=0.0, started_at=50.0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("patience", "stream", "has"),
    [
        (None, False, inf),
        (None, True, inf),
        (600.0, False, 599.0),
        (2.0, False, 1.8),
        (600.0, True, inf),  # keep-alives hold the client
        (15.0, True, 14.0),
        (2.0, True, 1.8),
    ],
)
async def test_a_calls_time_ends_shortly_before_its_clients_timeout(
    patience: float | None, stream: bool, has: float
) -> None:
    """Time counts from the arrival: reading the call and waiting for its turn are included."""
    time = asyncio.get_running_loop().time
    before = time()
    began, ends = compute_call_times(call(patience), 53.0, stream=stream)
    assert before - 1e-6 <= began + 3.0 <= time() + 1e-6
    assert ends - began == pytest.approx(has)


@pytest.mark.parametrize(
    ("client_seconds", "stream", "has"),
    [
        (inf, True, 20.0),
        (inf, False, 60.0),
        (599.0, False, 60.0),
        (90.0, False, 45.0),  # another target has the rest
        (30.0, False, 20.0),  # never less than a stream has
    ],
)
def test_the_head_of_a_whole_answer_has_half_of_the_clients_time(
    client_seconds: float, stream: bool, has: float
) -> None:
    """A provider writes a whole answer before it sends the head."""
    timers = Timers(headers=20.0, whole_headers=60.0)
    assert compute_head_seconds(timers, client_seconds, stream=stream) == has


def test_headers_hold_for_whole_answers_where_they_have_no_time_of_their_own() -> None:
    assert compute_head_seconds(Timers(headers=20.0), 599.0, stream=False) == 20.0
