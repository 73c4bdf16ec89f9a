"""Fixtures for Redis tests: a real server, a line to it that can be cut, and a world around it."""

from collections.abc import AsyncIterator

import pytest
import redis.asyncio as client

from tests.state.line import RedisLine
from tests.state.store_fixture import StoreFixture


@pytest.fixture
def world() -> StoreFixture:
    return StoreFixture()


@pytest.fixture
async def line(redis_url: str) -> AsyncIterator[RedisLine]:
    line_to_redis = RedisLine(redis_url)
    await line_to_redis.up()
    yield line_to_redis
    await line_to_redis.cut()


@pytest.fixture
async def admin(redis_url: str) -> AsyncIterator[client.Redis]:
    redis_client = client.Redis.from_url(redis_url)
    await redis_client.ping()
    yield redis_client
    await redis_client.aclose()
