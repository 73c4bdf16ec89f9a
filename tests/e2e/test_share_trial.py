"""Two gateways on one Redis keep the shares of each key together."""

from pathlib import Path

import pytest

from tests.conftest import redis_program
from tests.e2e.share_trial import trial


@pytest.mark.skipif(redis_program() is None, reason="no server of the Redis protocol")
async def test_the_shares_of_keys_stay_within_two_points_of_their_bounds(tmp_path: Path) -> None:
    """Each gateway sees half of a key's turns; none learns from the other key.

    The turns that are looked at are the same texts as those before, in another order, so that chance
    has little part in it; in the long form, `make shares`, all are new.
    """
    hard, mixed = await trial(tmp_path, ("hard", "mixed"), 1_000, "1", pool=200)
    assert [*hard.wrong(), *mixed.wrong()] == []
    assert hard.free["reasoning"] > 0.2 > hard.shares["reasoning"]
