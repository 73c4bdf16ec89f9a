"""kill -9 under load: the ledger has the provider's bill, once, and to the token."""

from pathlib import Path

from tests.e2e.kill_trial import trial


def test_the_ledger_has_the_providers_bill_after_kill_9(tmp_path: Path) -> None:
    """A worker, the supervisor, then all are killed; `make kill` is the long form.

    Every request at the provider has its intent, every failed one its row, and every call one final
    row. Settled rows agree with the bill, by the provider's own id and to the token. Other rows
    belong to calls that a kill cut. No living call is closed, and `tiergate costs` agrees with the
    journals.
    """
    result = trial(tmp_path, ["one", "supervisor", "all"], seed="1")
    assert result.wrong == []
    assert result.kills == {"one": 1, "supervisor": 1, "all": 1}
    assert result.states.keys() - {"failed"} == {"settled", "unknown_crash"}
    assert result.states["settled"] >= len(result.load.whole) > 100
    assert result.states["unknown_crash"] <= len(result.load.broken)
    assert {bill.kind for bill in result.bills} == {"answer", "refused", "cut"}
    assert {row.cost is None for rows in result.books.failed.values() for row in rows} == {
        True,
        False,
    }
