"""Usage of Converse in classes that never overlap."""

import pytest

from gateway.core.usage import Usage
from gateway.dialects.bedrock_converse import usage
from tests.dialects.bedrock_converse.frames import Object


def read(counts: Object, **more: object) -> Usage | None:
    return usage.read({"usage": counts, **more})


def test_cached_tokens_are_beside_the_input() -> None:
    used = read({
        "inputTokens": 10, "outputTokens": 5, "totalTokens": 145,
        "cacheReadInputTokens": 100, "cacheWriteInputTokens": 30,
    })  # fmt: skip
    assert used == Usage(input=10, cache_read=100, cache_write={"": 30}, output=5)
    assert used is not None
    assert used.prompt == 140


@pytest.mark.parametrize(
    ("total", "details", "written"),
    [
        (30, [{"ttl": "1h", "inputTokens": 10}, {"ttl": "5m", "inputTokens": 20}], {"1h": 10, "5m": 20}),
        (30, [{"ttl": "5m", "inputTokens": 20}, {"ttl": "5m", "inputTokens": 4}], {"5m": 24, "": 6}),
        (30, [{"ttl": 5, "inputTokens": 20}, {"inputTokens": 20}, "odd", {"ttl": "1h"}], {"": 30}),
        (5, [{"ttl": "5m", "inputTokens": 20}], {"": 5}),
        (0, [{"ttl": "5m", "inputTokens": 0}], {}),
        (None, [{"ttl": "5m", "inputTokens": 20}], {}),
        (None, None, {}),
    ],
)  # fmt: skip
def test_tokens_written_to_the_cache_have_their_lifetime(
    total: int | None, details: object, written: dict[str, int]
) -> None:
    used = read({
        "inputTokens": 1, "outputTokens": 1,
        "cacheWriteInputTokens": total, "cacheDetails": details,
    })  # fmt: skip
    assert used is not None
    assert used.cache_write == written


def test_what_counts_nothing_is_no_usage() -> None:
    assert usage.read({}) is None
    assert read({"totalTokens": 5}) is None
    assert read({"inputTokens": -1, "outputTokens": "x"}) is None
    assert read({"inputTokens": 4}) == Usage(input=4)


@pytest.mark.parametrize(
    ("more", "service"),
    [
        ({}, None),
        ({"serviceTier": {"type": "default"}, "performanceConfig": {"latency": "standard"}}, None),
        ({"serviceTier": {"type": "priority"}}, "priority"),
        ({"serviceTier": {"type": "flex"}, "performanceConfig": {"latency": "optimized"}}, "flex+optimized"),
        ({"serviceTier": "odd"}, None),
    ],
)  # fmt: skip
def test_the_service_tier_that_served_is_read(more: Object, service: str | None) -> None:
    used = read({"inputTokens": 1, "outputTokens": 1}, **more)
    assert used is not None
    assert used.service == service
