"""Two gateways on one Redis keep the shares of each key together."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.core.ledger_rows import FinalRow
from gateway.evaluation.replay.replay import LedgerReplay
from gateway.ledger import journal
from gateway.runtime.build import build_config
from gateway.settings.loader import load
from tests.conftest import redis_program
from tests.e2e.share_trial import trial
from tests.evaluation.replay.traffic import logged


@pytest.mark.skipif(redis_program() is None, reason="no server of the Redis protocol")
def test_the_shares_of_keys_stay_within_two_points_of_their_bounds(tmp_path: Path) -> None:
    """Each gateway sees half of a key's turns, and neither key learns from the other.

    Redis dies in the middle of the second key's turns, which no call notices. The turns that count
    repeat earlier texts in another order, so that chance has little part. In the long form,
    `make shares`, all texts are new. Decided again from their rows, the turns go where they went,
    cuts and all.
    """
    hard, mixed = asyncio.run(
        trial(tmp_path, ("hard", "mixed"), 2_000, "1", pool=1_000, lost="mixed")
    )
    assert [*hard.wrong(), *mixed.wrong()] == []
    assert hard.free["reasoning"] > 0.2 > hard.shares["reasoning"]
    walk = LedgerReplay(build_config(load(tmp_path / "gateway.yaml", {}), datetime.now(UTC)).router)
    for folder in tmp_path.glob("gateway?/data/ledger"):
        for path in journal.list_segments(folder):
            for row, _ in journal.read_rows(path):
                if isinstance(row, FinalRow):
                    walk.replay_row(logged(row))
    assert walk.totals.total.calls == 2 * (2_000 + 2_000)
    assert (walk.totals.total.changed, walk.totals.total.undecided) == (0, 0)
