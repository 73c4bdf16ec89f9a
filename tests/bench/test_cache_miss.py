"""One gateway serves a cacheable call and one that is not, by turns; the bench prints their ratio."""

import shutil
from pathlib import Path

import pytest

from bench import cache_miss
from bench.load import Ask
from bench.peers import Place, Running, Tiergate

compiles = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")


def test_the_gateway_is_a_plain_relay_with_its_cache_on(tmp_path: Path) -> None:
    where = Place(tmp_path, 1, 2)
    more = dict(
        cache_miss.Keeping().environment(where).items() - Tiergate().environment(where).items()
    )
    assert more == {"TIERGATE_CACHE__TTL": "1h", "TIERGATE_CACHE__DEFAULT": "on"}


@compiles
def test_each_round_measures_both_calls_and_repeats_no_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The ratio holds whichever of the two comes first."""
    asks: list[Ask] = []

    def cost(running: Running, *_: object) -> float:
        asks.append(running.ask)
        return 3.0 if running.ask.temperature == 0 else 2.0

    monkeypatch.setattr(cache_miss, "cost", cost)
    (rounds,) = cache_miss.measure(cache_miss.LOADS["plain"], starts=1, rounds=3)
    assert [(round_costs.kept, round_costs.plain, round_costs.ratio) for round_costs in rounds] == [
        (3.0, 2.0, 1.5)
    ] * 3
    assert [ask.temperature for ask in asks] == [0.7, 0.0, 0.0, 0.7, 0.7, 0.0, 0.0, 0.7]
    assert len({(ask.temperature, ask.user) for ask in asks}) == len(asks)
    assert len({len(ask.user) for ask in asks}) == 1


@compiles
def test_the_bench_prints_the_ratio(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cache_miss, "SECONDS", 0.1)
    assert cache_miss.main(["plain", "--starts", "1", "--rounds", "1"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("a miss takes ")
    assert 0 < float(printed.split("ratio ")[1].split()[0]) < 20
