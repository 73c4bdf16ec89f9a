"""Raised budgets: which are now, and whose rise has ended, for `tiergate check`."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from gateway.core.call import BudgetRise, Key, KeyBudget
from gateway.limits.budget_rises import find_ended_rises, list_rises
from tests.limits.test_unbounded_targets import TEXT
from tests.settings import world

BUDGETS = """budgets:
  - {name: team, usd: 100, every: month, rise: {usd: 50, until: 2026-12-31}}
  - {name: plain, usd: 100, every: month}
  - {name: tokyo, usd: 2.5, every: day, time_zone: Asia/Tokyo, rise: {usd: 1, until: 2026-12-31}}
"""


def test_a_rise_is_listed_until_it_ends_and_then_warns(tmp_path: Path) -> None:
    source = world.whole(tmp_path, TEXT + BUDGETS).source
    rise = BudgetRise(usd=Decimal("0.5"), until="2026-12-31T12:00:00Z")
    plain = KeyBudget(usd=Decimal(1), every="day")
    ann = Key(name="ann", budgets=(plain, KeyBudget(usd=Decimal(3), every="day", rise=rise)))
    noon = datetime(2026, 12, 31, 12, tzinfo=UTC).timestamp()
    assert list_rises(source, [ann], noon - 1) == [
        "'team': 150 USD in place of 100, until 2026-12-31",
        "'tokyo': 3.5 USD in place of 2.5, until 2026-12-31",
        "'key ann 2': 3.5 USD in place of 3, until 2026-12-31T12:00:00Z",
    ]
    assert find_ended_rises(source, [ann], noon - 1) == []
    assert len(list_rises(source, [ann], noon)) == 2
    late = noon + 3 * 3_600  # midnight in Tokyo
    assert len(list_rises(source, [ann], late)) == 1
    mistakes = find_ended_rises(source, [ann], late)
    assert [(mistake.level, mistake.text) for mistake in mistakes] == [
        ("warning", "budgets[2].rise.until: the rise of 'tokyo' has ended: 2026-12-31."),
        ("warning", "keys: the rise of 'key ann 2' has ended: 2026-12-31T12:00:00Z."),
    ]
    assert {mistake.hint for mistake in mistakes} == {"Remove it, or give it a later end."}


def test_a_rise_ends_with_its_day_in_the_time_zone_of_the_ledger(tmp_path: Path) -> None:
    budgets = """ledger: {time_zone: Asia/Tokyo}
budgets:
  - {name: none, usd: 0, every: day, rise: {usd: 5, until: 2026-12-31}}
"""
    source = world.whole(tmp_path, TEXT + budgets).source
    rise = BudgetRise(usd=Decimal(1), until="2026-12-31")
    ann = Key(name="ann", budgets=(KeyBudget(usd=Decimal(3), every="day", rise=rise),))
    midnight = datetime(2026, 12, 31, 15, tzinfo=UTC).timestamp()
    assert list_rises(source, [ann], midnight - 1) == [
        "'none': 5 USD in place of 0, until 2026-12-31",
        "'key ann': 4 USD in place of 3, until 2026-12-31",
    ]
    assert list_rises(source, [ann], midnight) == []
    assert len(find_ended_rises(source, [ann], midnight)) == 2
