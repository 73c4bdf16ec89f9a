"""One gateway serves a cacheable call and one that is not, by turns; the bench prints their ratio."""

import shutil
from pathlib import Path

import pytest

from bench import miss
from bench.load import Ask
from bench.peers import Place, Running, Tiergate

compiles = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")


def test_it_is_the_plain_relay_with_its_cache_on(tmp_path: Path) -> None:
    where = Place(tmp_path, 1, 2)
    more = dict(miss.Keeping().environment(where).items() - Tiergate().environment(where).items())
    assert more == {"TIERGATE_CACHE__TTL": "1h", "TIERGATE_CACHE__DEFAULT": "on"}


@compiles
def test_each_round_has_both_and_no_request_is_asked_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The ratio holds whichever of the two comes first."""
    asked: list[Ask] = []

    def cost(running: Running, *_: object) -> float:
        asked.append(running.ask)
        return 3.0 if running.ask.temperature == 0 else 2.0

    monkeypatch.setattr(miss, "cost", cost)
    (found,) = miss.measure(miss.LOADS["plain"], starts=1, rounds=3)
    assert [(one.kept, one.plain, one.ratio) for one in found] == [(3.0, 2.0, 1.5)] * 3
    assert [ask.temperature for ask in asked] == [0.7, 0.0, 0.0, 0.7, 0.7, 0.0, 0.0, 0.7]
    assert len({(ask.temperature, ask.user) for ask in asked}) == len(asked)
    assert len({len(ask.user) for ask in asked}) == 1


@compiles
def test_it_says_the_ratio(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(miss, "SECONDS", 0.1)
    assert miss.main(["plain", "--starts", "1", "--rounds", "1"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("a miss takes ")
    assert 0 < float(told.split("ratio ")[1].split()[0]) < 20
