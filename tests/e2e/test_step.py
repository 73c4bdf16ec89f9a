"""Ten times the load that is taken: the short form of `make step`, judged by counts alone."""

import asyncio
from pathlib import Path

from tests.e2e.step_trial import trial


def test_a_crowd_is_refused_in_part_and_served_in_part(tmp_path: Path) -> None:
    """Promise 8: what is accepted is served, all else is told when to come again before anything was
    tried, signs of life are answered, and afterwards nobody is refused.
    """
    found = asyncio.run(trial(tmp_path, 0.7))
    assert found.wrong == []
