"""Several workers without Redis do not start if each would count limits by itself."""

from decimal import Decimal
from pathlib import Path

import pytest

from gateway.core.call import Key, KeyBudget, KeyLimit
from gateway.limits.startup_check import find_unshared_limits
from gateway.settings import environment, loader
from gateway.settings.loader import ConfigSource

LIMITS = "limits: [{name: calls, requests: 60/m}]\n"
BUDGETS = "budgets: [{name: daily, usd: 20, every: day}]\n"
PLAIN = Key(name="ann")


def source(folder: Path, text: str) -> ConfigSource:
    file = folder / "gateway.yaml"
    file.write_text(f"version: 1\n{text}")
    return loader.load(environment.find_config_file(str(file), {}), {})


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        (LIMITS, PLAIN, "limits: 4 workers would each count limits by themselves."),
        (BUDGETS, PLAIN, "budgets: 4 workers would each count budgets by themselves."),
        (
            "",
            Key(name="ann", limits=(KeyLimit(concurrency=2),)),
            "keys: 4 workers would each count limits and budgets of keys by themselves.",
        ),
        (
            "",
            Key(name="ann", budgets=(KeyBudget(usd=Decimal(1), every="day"),)),
            "keys: 4 workers would each count limits and budgets of keys by themselves.",
        ),
    ],
)
def test_several_workers_without_redis_are_an_error_that_names_the_limits(
    tmp_path: Path, text: str, key: Key, expected: str
) -> None:
    config = source(tmp_path, text)
    (mistake,) = find_unshared_limits(config, [PLAIN, key], 4, {})
    assert f"{mistake.path}: {mistake.message}" == expected
    assert mistake.level == "error"
    assert mistake.hint == "Set REDIS_URL, or serve with --workers 1."
    assert find_unshared_limits(config, [PLAIN, key], 1, {}) == []
    assert find_unshared_limits(config, [PLAIN, key], 4, {"REDIS_URL": "redis://h"}) == []


def test_several_workers_need_no_redis_without_limits(tmp_path: Path) -> None:
    assert find_unshared_limits(source(tmp_path, ""), [PLAIN], 4, {}) == []
