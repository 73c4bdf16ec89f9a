"""Fixtures for Redis tests: a real server, a line to it that can be cut, and a world around it."""

from collections.abc import AsyncIterator

import pytest
import redis.asyncio as client

from tests.state.line import Line
from tests.state.store_fixture import StoreFixture


@pytest.fixture
def world() -> StoreFixture:
    return StoreFixture()


@pytest.fixture
async def line(redis_url: str) -> AsyncIterator[Line]:
    made = Line(redis_url)
    await made.up()
    yield made
    await made.cut()


@pytest.fixture
async def admin(redis_url: str) -> AsyncIterator[client.Redis]:
    made = client.Redis.from_url(redis_url)
    await made.ping()
    yield made
    await made.aclose()
