"""The soak in its short form, and its judges; `make soak` is the long form."""

import random
from pathlib import Path

import pytest

from tests.conftest import redis_program
from tests.soak.__main__ import soak
from tests.soak.judge import Sample, judge, slope


def samples(growth: float, *, files: int = 20, noise: float = 3.0) -> list[Sample]:
    """Return a sample each 5 s for half an hour; memory grows by `growth` MB a minute."""
    chance = random.Random(7)
    return [
        Sample(at, int((80 + growth * at / 60 + chance.uniform(0, noise)) * 1e6), files, 12)
        for at in (5.0 * number for number in range(360))
    ]


def test_the_judge_reports_growing_memory() -> None:
    assert slope(samples(2.0)) == pytest.approx(2.0, abs=0.1)
    _, wrong = judge(samples(1.5), 360.0)
    assert wrong == [fault for fault in wrong if fault.startswith("it grows by 1.")]
    assert wrong


def test_the_judge_accepts_memory_that_only_varies() -> None:
    """Warming up and single peaks do not count."""
    steady = samples(0.05)
    warming = [Sample(sample.at, sample.resident - 30_000_000, 9, 3) for sample in steady[:70]]
    peaks = [Sample(sample.at, sample.resident + 90_000_000, 80, 60) for sample in steady[100::50]]
    figures, wrong = judge(
        sorted([*warming, *steady[70:], *peaks], key=lambda sample: sample.at), 360.0
    )
    assert wrong == []
    assert "less than 1" in figures[1]


def test_the_judge_reports_leaked_descriptors_and_tasks() -> None:
    steady = samples(0.0)
    later = [Sample(sample.at, sample.resident, 40, 30) for sample in steady[200:]]
    assert judge([*steady[:200], *later], 360.0)[1] == ["+20 descriptors", "+18 tasks"]


def test_a_soak_of_a_few_seconds_passes(tmp_path: Path) -> None:
    """While Redis flaps, workers die and clients leave, each call has one final row, as billed."""
    if redis_program() is None:
        pytest.skip("no server of the Redis protocol: make dev, or apt-get install redis-server")
    findings = soak(tmp_path, 6.0, "short", stalls=0.0, grown=False)
    assert findings.wrong == []
    assert any(line.startswith("calls: ") for line in findings.figures)
