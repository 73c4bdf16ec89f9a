"""Test target health: the order of targets, and the client's error if none may be asked."""

import pytest

from gateway.core.errors import Problem, ProblemError, ProblemKind
from gateway.core.target import Account, Provider, Target
from gateway.upstream.circuit_breaker import CircuitBreaker
from gateway.upstream.health import TargetHealth
from gateway.upstream.provider_quota import AccountModelKey
from gateway.upstream.retry import Candidate


class Clinic:
    """Targets a to e, one account each, on a clock that the test turns."""

    def __init__(self) -> None:
        self.now = 100.0
        self.changes: list[tuple[AccountModelKey, str | None]] = []
        self.health = TargetHealth(clock=lambda: self.now, jitter=lambda: 0.5, on_change=self.tell)

    def tell(self, place: AccountModelKey, breaker: CircuitBreaker) -> None:
        self.changes.append((place, breaker.cause))

    def fail(self, name: str, kind: ProblemKind, times: int = 1, status: int | None = None) -> None:
        problem = Problem(kind=kind, message="", upstream_status=status)
        for _ in range(times):
            self.health.begin((name, "main", "m"), stream=True).fail(problem)

    def shake(self, name: str) -> None:
        """Make it fail now and then."""
        for _ in range(6):
            self.fail(name, "upstream_error")
            self.health.begin((name, "main", "m"), stream=True).succeed()

    def order(self, names: str) -> str:
        every = [
            Candidate(
                Target(provider=Provider(name=name, urls={}), model="m"), Account("main", ""), "x"
            )
            for name in names
        ]
        sorted_candidates = self.health.sort_candidates(every)
        return "".join(candidate.target.provider.name for candidate in sorted_candidates)


@pytest.fixture
def clinic() -> Clinic:
    return Clinic()


def test_a_model_name_that_a_client_invents_gets_no_breaker(clinic: Clinic) -> None:
    """Invented names must neither fill the memory nor raise an alert."""
    for at in range(99):
        place = ("a", "main", f"x{at}")
        for kind in ("upstream_model", "upstream_error"):
            sent = clinic.health.begin(place, stream=True, is_listed=False)
            sent.fail(Problem(kind=kind, message="", upstream_status=404))
        clinic.health.begin(place, stream=True, is_listed=False).abandon()
        clinic.health.begin(place, stream=True, is_listed=False).succeed()
    assert (clinic.health.target_breakers, clinic.health.open_count, clinic.changes) == ({}, 0, [])


def test_every_call_counts_for_the_breaker_of_the_credential(clinic: Clinic) -> None:
    place = ("a", "main", "x")
    refused = Problem(kind="upstream_auth", message="", upstream_status=401)
    clinic.health.begin(place, stream=True, is_listed=False).fail(refused)
    assert clinic.changes == [(("a", "main", ""), "credential")]
    forbidden = Problem(kind="upstream_auth", message="", upstream_status=403)
    clinic.health.begin(("b", "main", "x"), stream=True, is_listed=False).fail(forbidden)
    assert clinic.health.open_count == 1
    clinic.now += 60
    clinic.health.begin(place, stream=True, is_listed=False).succeed()
    assert clinic.health.open_count == 0


def test_unhealthy_targets_come_last_in_order_of_their_cause(clinic: Clinic) -> None:
    """The gateway skips targets that fail outright; the order shows which others may be asked, and
    how late.
    """
    clinic.fail("a", "upstream_auth", status=401)
    clinic.fail("b", "upstream_model", status=404)
    clinic.shake("c")
    clinic.fail("d", "upstream_unreachable", times=5)
    assert clinic.order("abcde") == "ecba"
    assert clinic.order("abd") == "ba"
    assert clinic.changes == [
        (("a", "main", ""), "credential"),
        (("b", "main", "m"), "model"),
        (("c", "main", "m"), "shaky"),
        (("d", "main", "m"), "failing"),
    ]
    assert clinic.health.open_count == 4
    assert [bool(clinic.health.get_skip_reason((name, "main", "m"))) for name in "abcde"] == [True] * 4 + [False]  # fmt: skip
    assert clinic.health.is_blocked(("d", "main", "m"))
    assert not clinic.health.is_blocked(("a", "main", "m"))


def test_the_refusal_says_when_the_first_target_is_tried_again(clinic: Clinic) -> None:
    clinic.fail("a", "upstream_unreachable", times=5)
    clinic.now += 1
    clinic.fail("b", "upstream_unreachable", times=5)
    with pytest.raises(ProblemError, match="calls none of them now") as caught:
        clinic.order("ab")
    problem = caught.value.problem
    assert (problem.kind, problem.retry_after, problem.should_retry) == ("overloaded", 1.5, None)
    clinic.now += 1
    assert clinic.order("ab") == "a"  # its probe is due


def test_an_accounts_breaker_closes_after_a_success(clinic: Clinic) -> None:
    """The model does not matter: a credential belongs to an account."""
    clinic.fail("a", "upstream_auth", status=401)
    clinic.health.begin(("a", "main", "n"), stream=True).succeed()
    assert clinic.health.open_count == 1
    clinic.now += 31
    clinic.health.begin(("a", "main", "n"), stream=True).succeed()
    assert (clinic.health.open_count, clinic.health.all_closed) == (0, True)
    assert clinic.changes[-1] == (("a", "main", ""), None)
    clinic.health.begin(("a", "main", "n"), stream=True).succeed()
    assert len(clinic.changes) == 2


NOTHING: list[ProblemKind] = ["upstream_rate_limited", "overloaded", "ledger", "budget", "upstream_rejected", "upstream_context"]  # fmt: skip


@pytest.mark.parametrize("kind", NOTHING)
def test_problems_that_are_not_the_targets_fault_change_no_breaker(
    clinic: Clinic, kind: ProblemKind
) -> None:
    clinic.fail("a", kind, times=40)
    assert (clinic.health.all_closed, clinic.changes) == (True, [])


def test_it_takes_three_403_or_404_to_open_a_breaker(clinic: Clinic) -> None:
    """403 and 404 may be due to a name in the request: one error does not stop a healthy target."""
    for kind, status in (("upstream_auth", 403), ("upstream_model", 404)):
        clinic.health.begin((kind, "main", "m"), stream=True).succeed()
        problem = Problem(kind="upstream_auth" if status == 403 else "upstream_model", message="", upstream_status=status)  # fmt: skip
        for calm in (True, True, False):
            clinic.health.begin((kind, "main", "m"), stream=True).fail(problem)
            assert (clinic.health.get_skip_reason((kind, "main", "m")) == "") is calm
    assert not clinic.health.account_breakers


def test_running_calls_count_as_slow_too(clinic: Clinic) -> None:
    """The gateway does not wait for a silent provider until its first call has failed."""
    for _ in range(40):
        sent = clinic.health.begin(("a", "main", "m"), stream=True)
        clinic.now += 0.1
        sent.succeed()
    for _ in range(50):
        clinic.health.begin(("a", "main", "m"), stream=True)
        clinic.now += 0.1
    assert clinic.changes == [(("a", "main", "m"), "slow")]
    assert clinic.order("ab") == "ba"
    assert clinic.health.target_breakers["a", "main", "m"].report(clinic.now).in_flight == 50


def test_calls_that_clients_abandon_count_as_slow(clinic: Clinic) -> None:
    """Clients that leave are the gateway's sign of a brown-out."""
    for _ in range(40):
        sent = clinic.health.begin(("a", "main", "m"), stream=True)
        clinic.now += 0.1
        sent.succeed()
    for _ in range(40):
        sent = clinic.health.begin(("a", "main", "m"), stream=True)
        clinic.now += 2
        sent.abandon()
    assert clinic.changes[0] == (("a", "main", "m"), "slow")
