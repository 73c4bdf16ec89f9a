"""Test how long a call may take, by the timeout that its client announces."""

import asyncio
from math import inf

import pytest

from gateway.core.call import Call
from gateway.upstream.upstream_request import compute_call_times


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
