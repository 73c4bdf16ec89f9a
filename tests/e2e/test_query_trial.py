"""People look at the dashboard while applications call; then the query process and the gateway die."""

from pathlib import Path

import pytest

from bench import machine
from tests.e2e.query_trial import trial


def test_no_call_fails_beside_queries_and_none_of_the_processes_stays(tmp_path: Path) -> None:
    """Queries are answered by other processes, of which a new one replaces one that is killed.

    None outlives the gateway. `make queries` is the long form, which shows how long calls take.
    """
    try:
        result = trial(tmp_path, rows=2_000, seconds=1.0, rounds=1)
    except machine.Missing as error:
        pytest.skip(f"no compiler: {error}")
    assert result.wrong == []
    assert len(result.seconds) > result.late
    assert result.pids
    assert all(load.answered for load in (*result.calm, *result.busy))
