"""Wrong keys are counted by their first characters and all together, in bounded memory."""

import sys

import pytest

from gateway.core.errors import ProblemError
from gateway.limits.key_guessing import WrongKeyCounter


class GuessClock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> GuessClock:
    return GuessClock()


def refused(guesses: WrongKeyCounter, secret: str) -> float:
    """Return the seconds that a wrong key must wait; 0 if the gateway only counts it."""
    try:
        guesses.count(secret)
    except ProblemError as error:
        return error.problem.retry_after or 0.0
    return 0.0


def test_a_refusal_does_not_quote_the_key(clock: GuessClock) -> None:
    guesses = WrongKeyCounter(clock)
    for _ in range(5):
        guesses.count("tg-12345")
    with pytest.raises(ProblemError) as caught:
        guesses.count("tg-12345")
    problem = caught.value.problem
    assert (problem.kind, problem.http_status) == ("rate_limited", 429)
    assert "12345" not in problem.message


def test_a_client_gets_few_guesses_for_keys_with_the_same_first_characters(
    clock: GuessClock,
) -> None:
    guesses = WrongKeyCounter(clock)
    assert [refused(guesses, f"tg-12345{at}") for at in range(5)] == [0.0] * 5
    assert refused(guesses, "tg-12345x") == pytest.approx(5.0)
    clock.now += 4.0
    assert refused(guesses, "tg-12345x") == pytest.approx(1.0)
    clock.now += 1.0
    assert refused(guesses, "tg-12345x") == 0.0
    assert refused(guesses, "tg-12345x") == pytest.approx(5.0), "asking again costs no more"
    clock.now += 1_000.0
    assert [refused(guesses, "tg-12345") for _ in range(5)] == [0.0] * 5


def test_keys_with_other_first_characters_have_their_own_guesses(clock: GuessClock) -> None:
    guesses = WrongKeyCounter(clock)
    while not refused(guesses, "aaaaaaaa"):
        pass
    others = [f"{at}-other-key" for at in range(3)]
    assert [refused(guesses, key) for key in others if _apart(key, "aaaaaaaa")] == [0.0] * len(
        [key for key in others if _apart(key, "aaaaaaaa")]
    )


def _apart(key: str, other_key: str) -> bool:
    """True if two keys have separate counters: by chance they may share one."""
    return (hash(key[:8]) - hash(other_key[:8])) % 1_024 != 0


def test_the_gateway_also_limits_wrong_keys_in_total(clock: GuessClock) -> None:
    guesses = WrongKeyCounter(clock)
    waits = [refused(guesses, f"{at:08d}") for at in range(2_000)]
    counted = [wait for wait in waits if not wait]
    assert 40 <= len(counted) <= 50
    assert all(waits[100:])
    clock.now += 1.0
    waits = [refused(guesses, f"{at:08d}") for at in range(2_000, 4_000)]
    assert len([wait for wait in waits if not wait]) == 5


def test_the_memory_of_the_counter_does_not_grow(clock: GuessClock) -> None:
    guesses = WrongKeyCounter(clock)
    before = sys.getsizeof(guesses._slots)
    for at in range(50_000):
        clock.now += 0.1
        refused(guesses, f"{at}" * 50)
    assert sys.getsizeof(guesses._slots) == before
    assert len(guesses._slots) == 1_024
