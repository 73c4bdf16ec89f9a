"""A Cluster's primary dies under calls: only unreplicated reservations overspend their budget."""

import random
from pathlib import Path

from tests.e2e.cluster_trial import trial
from tests.state.redis_groups import Nodes


async def test_a_failover_loses_only_the_unreplicated_reservations(
    redis_server: str, tmp_path: Path
) -> None:
    """The primary loses its replica for 30 ms and is killed; `cluster_trial` is the long form."""
    with Nodes(redis_server, tmp_path) as nodes:
        result = await trial(nodes, "acme", 3_000, random.Random(1), cut=True)
    assert result.counted <= 3_000
    assert result.passed <= 3_000 + result.window
    assert result.lost
