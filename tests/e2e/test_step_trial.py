"""Ten times the admitted load: the short form of `make step`, judged by counts alone."""

import asyncio
from pathlib import Path

from tests.e2e.step_trial import trial


def test_the_gateway_serves_a_part_of_a_sudden_crowd_and_refuses_the_rest(tmp_path: Path) -> None:
    """Promise 8: the gateway serves what it accepts, and tells all other calls when to come again.

    It refuses them before it tries anything, and answers health checks meanwhile. Afterwards it
    refuses nobody.
    """
    result = asyncio.run(trial(tmp_path, 0.7))
    assert result.wrong == []
