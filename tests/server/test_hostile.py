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
    gateway = Gate(tmp_path_factory.mktemp("cache") / "gateway", _provider.url, storing)
    yield gateway
    gateway.stop()


def check_outcomes(outcomes: trial.Outcomes, least: int) -> None:
    """Check that there are at least `least` outcomes, and that none is wrong."""
    problems = list(outcomes)
    wrong = [problem for problem in problems if problem]
    assert not wrong, (len(wrong), wrong[:3])
    assert len(problems) >= least


@pytest.mark.parametrize("path", FIELDS)
def test_c_18_sec_ssti_3_the_gateway_forwards_odd_texts_unchanged(
    gate: Gate, provider: Upstream, path: str
) -> None:
    """SEC-SSTI 3, C-18: a share of 500 texts in every field at once pass unchanged to the last
    byte.
    """
    every = 5 if path in trial.SPOKEN else 20
    check_outcomes(trial.naughty(gate, provider, path, every), 500 // every)


@pytest.mark.parametrize("path", trial.SPOKEN)
def test_c_18_odd_texts_have_separate_cache_entries(
    cache: Gate, provider: Upstream, path: str
) -> None:
    """SEC-CACHE 2, C-18: each text has its own answer, the first time and the second."""
    every = 4 if path == CHAT else 16
    check_outcomes(trial.cached(cache, provider, path, every), 2 * (500 // every))


@pytest.mark.parametrize("path", FIELDS)
def test_c_07_c_08_c_10_malformed_json_is_refused(
    gate: Gate, provider: Upstream, path: str
) -> None:
    """C-07, C-08, C-10: texts that are nearly JSON: 400 in the dialect, never a fault."""
    number = 100 if path in trial.SPOKEN else 40
    check_outcomes(trial.unreadable(gate, provider, path, number), number)


@pytest.mark.parametrize("path", trial.SPOKEN)
@pytest.mark.parametrize("model", trial.MODELS.values())
def test_c_17_odd_values_never_make_the_gateway_fail(
    gate: Gate, provider: Upstream, path: str, model: str
) -> None:
    """C-17: any value may replace any other, in requests and in answers, native and translated. The
    gateway answers or refuses a request; it passes an answer on or blames the provider; it never
    fails itself.
    """
    check_outcomes(trial.odd_requests(gate, path, model, 30), 30)
    check_outcomes(trial.odd_answers(gate, provider, path, model, 30), 30)


def test_sec_sqli_1_keys_that_are_programs(gate_with_keys: Gate, provider: Upstream) -> None:
    """SEC-SQLI 1: 560 injections and as many odd texts, each in a header or the URL, get one answer
    and no row.
    """
    check_outcomes(trial.locked_out(gate_with_keys, 560, 1), 1000)
    assert not provider.requests


def test_sec_sqli_2_names_labels_and_headers_that_are_programs_stay_text(
    gate_with_keys: Gate, provider: Upstream
) -> None:
    """SEC-SQLI 2, SEC-SSTI 3: the gateway forwards, stores and shows them as text."""
    check_outcomes(trial.told_apart(gate_with_keys, provider, 280), 1000)


def test_sec_sqli_2_parameters_of_admin_that_are_programs_match_nothing(
    gate_with_keys: Gate,
) -> None:
    """SEC-SQLI 2: they match nothing, and change nothing."""
    check_outcomes(trial.asked_admins(gate_with_keys, 240), 240)


def test_sec_path_eval_ssrf_hostile_names_open_run_and_dial_nothing(
    provider: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """SEC-PATH, SEC-EVAL 4: 560 names that lead elsewhere, and 100 programs. Python's own audit
    events show what it opens, compiles, imports, starts and connects to meanwhile.
    """
    folder = tmp_path_factory.mktemp("watched")
    audit_log = folder / "seen"
    keys = {"TIERGATE_KEYS": KEYS, "TIERGATE_ADMIN_KEY": trial.ADMIN_KEY}
    gate = Gate(folder / "gateway", provider.url, first=trial.watch(audit_log), **keys)  # type: ignore[arg-type]
    try:
        for warm_up in (
            trial.lost_ways(gate, 8),
            trial.told_apart(gate, provider, 8),
            trial.asked_admins(gate, 24),
        ):
            check_outcomes(warm_up, 8)
        start = audit_log.stat().st_size
        check_outcomes(trial.lost_ways(gate, 560, 1), 560 * 2)
        check_outcomes(trial.told_apart(gate, provider, 100), 200)
        assert trial.stray(audit_log, start, folder / "gateway" / "data") == []
        assert b"open /" in audit_log.read_bytes()  # the watcher does see opened files
    finally:
        gate.stop()
