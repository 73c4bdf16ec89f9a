"""The ledger's store goes away: calls go on, and it has every row when it is back."""

from pathlib import Path

from tests.e2e.outage_trial import trial


def test_calls_succeed_while_the_store_is_away_and_it_gets_every_row_later(tmp_path: Path) -> None:
    """The gateway runs two workers on a real PostgreSQL.

    Every row is in the store once. The sums equal those of the journals, and agree with the bill of
    an independent provider. `make outage` is the long form, which watches memory too.
    """
    result = trial(tmp_path, 3.0, seed="1")
    assert result.wrong == []
    assert result.away >= 50
    assert result.failures > 0
    assert all(size > 0 for size in result.memory)
