"""Three gateways on one Redis that is lost in many ways: no budget is overspent."""

from pathlib import Path

import pytest

from tests.conftest import redis_program
from tests.e2e.loss_trial import FAULTS, trial


@pytest.mark.skipif(redis_program() is None, reason="no server of the Redis protocol")
@pytest.mark.parametrize("fault", FAULTS)
def test_no_loss_of_redis_overspends_a_budget(tmp_path: Path, fault: str) -> None:
    """Providers bill no more than each budget, and Redis counts no less. `make losses` is longer."""
    result = trial(tmp_path, fault, "1", clients=100, calls=3)
    assert result.wrong == []
    assert all(item.over == 0 for item in result.overshoots)
    assert result.overshoots[0].billed > 0
