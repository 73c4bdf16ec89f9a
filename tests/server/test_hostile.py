"""Test hostile input in its short form, each set in each dialect; `make hostile` runs the long one."""

from collections.abc import Iterator

import pytest

from tests.e2e.upstream import Upstream
from tests.hostile import trial
from tests.hostile.__main__ import storing
from tests.hostile.fields import FIELDS
from tests.server.gate import CHAT, KEYS, Gate


@pytest.fixture(scope="module")
def cache(_provider: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    """A gateway that caches answers."""
    made = Gate(tmp_path_factory.mktemp("cache") / "gateway", _provider.url, storing)
    yield made
    made.stop()


def held(outcomes: trial.Outcomes, least: int) -> None:
    """Check that there are at least `least` outcomes, and that none is wrong."""
    found = list(outcomes)
    wrong = [one for one in found if one]
    assert not wrong, (len(wrong), wrong[:3])
    assert len(found) >= least


@pytest.mark.parametrize("path", FIELDS)
def test_c_18_sec_ssti_3_texts_go_on_as_they_came(
    gate: Gate, provider: Upstream, path: str
) -> None:
    """SEC-SSTI 3, C-18: 500 texts, or a share, in every field at once pass unchanged to the last
    byte.
    """
    every = 1 if path in trial.SPOKEN else 20
    held(trial.naughty(gate, provider, path, every), 500 // every)


@pytest.mark.parametrize("path", trial.SPOKEN)
def test_c_18_texts_are_cached_apart(cache: Gate, provider: Upstream, path: str) -> None:
    """SEC-CACHE 2, C-18: each text has its own answer, the first time and the second."""
    every = 1 if path == CHAT else 8
    held(trial.cached(cache, provider, path, every), 2 * (500 // every))


@pytest.mark.parametrize("path", FIELDS)
def test_c_07_c_08_c_10_malformed_json(gate: Gate, provider: Upstream, path: str) -> None:
    """C-07, C-08, C-10: 300 texts that are nearly JSON: 400 in the dialect, never a fault."""
    number = 300 if path in trial.SPOKEN else 120
    held(trial.unreadable(gate, provider, path, number), number)


@pytest.mark.parametrize("path", trial.SPOKEN)
@pytest.mark.parametrize("model", trial.MODELS.values())
def test_c_17_odd_requests_and_odd_answers(
    gate: Gate, provider: Upstream, path: str, model: str
) -> None:
    """C-17: any value may replace any other, in requests and in answers, native and translated. The
    gateway answers or refuses a request; it passes an answer on or blames the provider; it never
    fails itself.
    """
    held(trial.odd_requests(gate, path, model, 30), 30)
    held(trial.odd_answers(gate, provider, path, model, 30), 30)


def test_sec_sqli_1_keys_that_are_programs(locked: Gate, provider: Upstream) -> None:
    """SEC-SQLI 1: 560 injections and as many odd texts, each in a header or the URL, get one answer
    and no row.
    """
    held(trial.locked_out(locked, 560, 1), 1000)
    assert not provider.requests


def test_sec_sqli_2_names_labels_and_headers_that_are_programs(
    locked: Gate, provider: Upstream
) -> None:
    """SEC-SQLI 2, SEC-SSTI 3: the gateway forwards, stores and shows them as text."""
    held(trial.told_apart(locked, provider, 280), 1000)


def test_sec_sqli_2_parameters_of_admin_that_are_programs(locked: Gate) -> None:
    """SEC-SQLI 2: they match nothing, and change nothing."""
    held(trial.asked_admins(locked, 240), 240)


def test_sec_path_eval_ssrf_nothing_is_opened_run_or_dialled(
    provider: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """SEC-PATH, SEC-EVAL 4: 560 names that lead elsewhere, and 100 programs. Python's own audit
    events show what it opens, compiles, imports, starts and connects to meanwhile.
    """
    folder = tmp_path_factory.mktemp("watched")
    seen = folder / "seen"
    keys = {"TIERGATE_KEYS": KEYS, "TIERGATE_ADMIN_KEY": trial.ADMIN_KEY}
    gate = Gate(folder / "gateway", provider.url, first=trial.watch(seen), **keys)  # type: ignore[arg-type]
    try:
        for warm in (
            trial.lost_ways(gate, 8),
            trial.told_apart(gate, provider, 8),
            trial.asked_admins(gate, 24),
        ):
            held(warm, 8)
        since = seen.stat().st_size
        held(trial.lost_ways(gate, 560, 1), 560 * 2)
        held(trial.told_apart(gate, provider, 100), 200)
        assert trial.stray(seen, since, folder / "gateway" / "data") == []
        assert b"open /" in seen.read_bytes()  # the watcher does see opened files
    finally:
        gate.stop()
