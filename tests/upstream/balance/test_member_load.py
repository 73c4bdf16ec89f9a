"""Test the load of members: calls until their answers end, and an average of latencies."""

import math
from collections.abc import AsyncIterator

import httpx
import pytest

from gateway.upstream.balance.member_load import MemberLoads
from gateway.upstream.client import HttpxSender
from tests.upstream.balance.equals import make_candidates, make_target


class ClosableBody(httpx.AsyncByteStream):
    def __init__(self) -> None:
        self.closed = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"hello"

    async def aclose(self) -> None:
        self.closed += 1


class LoadFixture:
    """Loads on a clock of the test, with one candidate."""

    def __init__(self) -> None:
        self.now = 100.0
        self.loads = MemberLoads(lambda: self.now)
        (self.candidate,) = make_candidates(make_target("x/m"))

    def answer_in(self, seconds: float, *, stream: bool = False) -> None:
        attempt = self.loads.begin(self.candidate, stream=stream)
        self.now += seconds
        attempt.succeed()
        attempt.end()

    def latency(self, *, stream: bool = False) -> float | None:
        return self.loads.find(self.candidate).get_latency(self.now, stream=stream)


async def test_a_stream_is_a_load_until_its_response_is_closed() -> None:
    fixture, body = LoadFixture(), ClosableBody()
    load = fixture.loads.find(fixture.candidate)
    attempt = fixture.loads.begin(fixture.candidate, stream=True)
    response = attempt.track(HttpxSender("x", 200, [(b"a", b"b")], body))
    attempt.succeed()
    assert load.in_flight == 1
    assert (response.status, response.provider, response.get_header(b"a")) == (200, "x", "b")
    assert [data async for data in response.read(1.0, math.inf)] == [b"hello"]
    for _ in range(2):
        await response.close()
        assert load.in_flight == 0
    assert body.closed == 2


def test_the_latency_is_an_average_that_weighs_recent_answers_more() -> None:
    fixture = LoadFixture()
    assert fixture.latency() is None
    fixture.answer_in(1.0)
    assert fixture.latency() == 1.0
    assert fixture.latency(stream=True) is None
    fixture.answer_in(4.0, stream=True)
    assert fixture.latency(stream=True) == 4.0
    for _ in range(100):
        fixture.answer_in(2.0)
    assert fixture.latency() == pytest.approx(2.0, rel=0.01)


def test_the_latency_fades_while_no_answer_comes() -> None:
    """So the gateway tries a slow member again, one call at a time."""
    fixture = LoadFixture()
    fixture.answer_in(10.0)
    fixture.now += 30.0
    assert fixture.latency() == pytest.approx(10.0 / math.e)


def test_models_that_clients_name_share_the_load_of_an_account() -> None:
    fixture = LoadFixture()
    for number in range(3):
        target = make_target(f"x/name-{number}")
        (candidate,) = make_candidates(target)
        unlisted = type(candidate)(
            type(target)(provider=target.provider, model=target.model, is_listed=False),
            candidate.account,
            candidate.dialect_name,
        )
        fixture.loads.begin(unlisted, stream=False)
        assert fixture.loads.find(unlisted).in_flight == number + 1
