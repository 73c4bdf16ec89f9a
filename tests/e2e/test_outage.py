"""The ledger's store goes away: calls go on, and it has every row when it is back."""

from pathlib import Path

from tests.e2e.outage_trial import trial


def test_calls_go_on_without_the_store_and_it_has_all_of_them_later(tmp_path: Path) -> None:
    """A real PostgreSQL, two workers; `make outage` is the long form, which watches memory too.

    Every row is in the store once, its sums are those of the journals, and they agree with what an
    independent provider has billed.
    """
    found = trial(tmp_path, 3.0, seed="1")
    assert found.wrong == []
    assert found.away >= 50
    assert found.failures > 0
    assert all(size > 0 for size in found.memory)
