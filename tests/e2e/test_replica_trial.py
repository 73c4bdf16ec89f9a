"""Four replicas with prefix caches before a real gateway: the short form of `make replicas`."""

import asyncio
from pathlib import Path

from tests.e2e.replica_trial import trial


def test_replicas_share_conversations_evenly_and_keep_them_over_a_kill(tmp_path: Path) -> None:
    """No call fails when one replica gets SIGKILL, and its conversations return with it.

    Those of the other replicas never move. Nearly all later turns hit the prefix cache of their
    replica. A slow replica gets less by `p2c`.
    """
    result = asyncio.run(trial(tmp_path, 400))
    assert result.wrong == []
    assert result.failed == []
    assert result.later == 800
