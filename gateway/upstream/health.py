"""The health of targets and accounts, learnt from every request: a breaker for each.

It is what this process has seen. The gateway sends no health checks: a probe is a call that a
client made anyway, one at a time.
"""

from collections.abc import Callable, Collection
from math import inf
from operator import itemgetter

import msgspec

from gateway.core.errors import Problem, ProblemError, ProblemKind
from gateway.upstream.circuit_breaker import CAUSE_RANK, Cause, CircuitBreaker
from gateway.upstream.provider_quota import AccountModelKey
from gateway.upstream.retry import Candidate

type OnBreakerChange = Callable[[AccountModelKey, CircuitBreaker], object]
"""A function that takes each changed breaker with its key; an account's key has an empty model."""

_FAILURE_KINDS: frozenset[ProblemKind] = frozenset(
    {
        "upstream_error",
        "upstream_moved",
        "upstream_overloaded",
        "upstream_timeout",
        "upstream_truncated",
        "upstream_unreachable",
    }
)
_REJECTION_KINDS: frozenset[ProblemKind] = frozenset({"upstream_rejected", "upstream_context"})
_FORBIDDEN_STATUS = 403
_OVERLOADED_MESSAGE = (
    "All providers of this model are failing, so the gateway calls none of "
    "them now. Try again soon."
)


class InFlightAttempt(msgspec.Struct, eq=False):
    """One request in flight, which reports its result to its breaker."""

    _health: "TargetHealth"
    _key: AccountModelKey
    _breaker: CircuitBreaker
    _attempt_number: int
    """The breaker's number of the request."""
    _started_at: float
    _stream: bool
    _is_answered: bool = False

    def succeed(self) -> None:
        """Report that the answer, or the first content of a stream, has come."""
        health, now = self._health, self._health.clock()
        self._is_answered = True
        if self._breaker.record_success(
            self._attempt_number, now, now - self._started_at, stream=self._stream
        ):
            health.handle_change(self._key, self._breaker)
        if not health.all_closed:
            health.record_auth_success(self._key, now)

    def fail(self, problem: Problem) -> None:
        """Report that no answer came, or that it broke off after it had begun."""
        health, breaker, attempt_number = self._health, self._breaker, self._attempt_number
        now, kind = health.clock(), problem.kind
        if self._is_answered:
            has_changed = kind in _FAILURE_KINDS and breaker.record_broken_answer(
                attempt_number, now, kind
            )
        elif kind in _FAILURE_KINDS:
            has_changed = breaker.record_failure(attempt_number, now, kind)
        elif kind in _REJECTION_KINDS:
            has_changed = breaker.record_rejection(attempt_number, now)
        elif kind == "upstream_auth" and problem.upstream_status != _FORBIDDEN_STATUS:
            has_changed = breaker.record_unknown(attempt_number, now)
            health.record_auth_failure(self._key, kind, now)
        elif kind in ("upstream_auth", "upstream_model"):
            cause: Cause = "credential" if kind == "upstream_auth" else "model"
            has_changed = breaker.record_refusal(attempt_number, now, kind, cause, is_certain=False)
        else:
            has_changed = breaker.record_unknown(attempt_number, now)
        if has_changed:
            health.handle_change(self._key, breaker)

    def abandon(self) -> None:
        """Report that nobody waits for the answer any more."""
        if self._breaker.record_unknown(self._attempt_number, self._health.clock()):
            self._health.handle_change(self._key, self._breaker)


class UnwatchedAttempt(InFlightAttempt, eq=False):
    """One request for a model that no lab lists: it has no breaker, as clients choose its name.

    It still reports on the credential of its account.
    """

    def succeed(self) -> None:
        """Report that the credential of the account is good."""
        if not self._health.all_closed:
            self._health.record_auth_success(self._key, self._health.clock())

    def fail(self, problem: Problem) -> None:
        """Report a refused credential of the account, and nothing else."""
        if problem.kind == "upstream_auth" and problem.upstream_status != _FORBIDDEN_STATUS:
            self._health.record_auth_failure(self._key, problem.kind, self._health.clock())

    def abandon(self) -> None:
        """Report nothing."""


class TargetHealth:
    """The breakers of all targets and accounts. `clock` is in seconds and never goes back."""

    def __init__(
        self, *, clock: Callable[[], float], jitter: Callable[[], float], on_change: OnBreakerChange
    ) -> None:
        self.clock = clock
        self.all_closed = True
        """True if all breakers are closed: nothing else needs a look."""
        self._jitter = jitter
        self._on_change = on_change
        self.target_breakers: dict[AccountModelKey, CircuitBreaker] = {}
        self.account_breakers: dict[tuple[str, str], CircuitBreaker] = {}
        """The breakers of accounts whose credential was refused."""

    def begin(
        self, key: AccountModelKey, *, stream: bool, is_listed: bool = True
    ) -> InFlightAttempt:
        """Note that a request is sent. Set `is_listed` if a lab lists its model."""
        now = self.clock()
        if not is_listed:
            return UnwatchedAttempt(self, key, CircuitBreaker(self._jitter), 0, now, stream)
        breaker = self.target_breakers.get(key)
        if breaker is None:
            breaker = self.target_breakers[key] = CircuitBreaker(self._jitter)
        previous_cause = breaker.cause
        attempt_number = breaker.begin(now, stream=stream)
        attempt = InFlightAttempt(self, key, breaker, attempt_number, now, stream)
        if breaker.cause is not previous_cause:  # too many requests in flight are late
            self.handle_change(key, breaker)
        return attempt

    def sort_candidates(self, candidates: list[Candidate]) -> list[Candidate]:
        """Return the candidates that may be asked; those with an open breaker go last.

        Raises ProblemError if none is left.
        """
        now = self.clock()
        fit_candidates: list[Candidate] = []
        demoted_candidates: list[tuple[int, Candidate]] = []
        earliest_retry_at = inf
        for candidate in candidates:
            breakers = self._find_blocking_breakers(candidate.key, now)
            if not breakers:
                fit_candidates.append(candidate)
            elif not any(breaker.is_failing for breaker in breakers):
                demoted_candidates.append(
                    (max(CAUSE_RANK[breaker.cause or "slow"] for breaker in breakers), candidate)
                )
            else:
                earliest_retry_at = min(
                    earliest_retry_at,
                    *(breaker.retry_at for breaker in breakers if breaker.is_failing),
                )
        if fit_candidates or demoted_candidates:
            return [
                *fit_candidates,
                *(candidate for _, candidate in sorted(demoted_candidates, key=itemgetter(0))),
            ]
        wait = max(1.0, earliest_retry_at - now + self._jitter())  # so that clients spread out
        raise ProblemError(
            Problem(kind="overloaded", message=_OVERLOADED_MESSAGE, retry_after=wait)
        )

    def is_blocked(self, key: AccountModelKey) -> bool:
        """Return True if a candidate must not be asked now."""
        return not self.all_closed and any(
            breaker.is_failing for breaker in self._find_blocking_breakers(key, self.clock())
        )

    def is_healthy(self, key: AccountModelKey) -> bool:
        """Return True if a target's breaker is closed and has no recent failure."""
        breaker = self.target_breakers.get(key)
        return breaker is None or breaker.is_healthy

    def get_tail_seconds(self, key: AccountModelKey, *, stream: bool) -> float | None:
        """Return the seconds in which 95 % of a target's answers have content; None: not known."""
        breaker = self.target_breakers.get(key)
        return None if breaker is None else breaker.get_tail_seconds(stream=stream)

    def claim_probe(self, key: AccountModelKey) -> None:
        """Claim the probe for the candidate that is asked next, if a probe is due."""
        now = self.clock()
        for breaker in self._find_breakers(key):
            breaker.claim_probe(now)

    def record_auth_failure(self, key: AccountModelKey, kind: str, now: float) -> None:
        """Record that the provider refuses the credential of an account, for any model."""
        account = key[0], key[1]
        breaker = self.account_breakers.get(account)
        if breaker is None:
            breaker = self.account_breakers[account] = CircuitBreaker(self._jitter)
        attempt_number = breaker.begin(now, stream=False)
        if breaker.record_refusal(attempt_number, now, kind, "credential", is_certain=True):
            self.handle_change((*account, ""), breaker)

    def record_auth_success(self, key: AccountModelKey, now: float) -> None:
        """Record that an account was served: its credential is good again."""
        account = key[0], key[1]
        breaker = self.account_breakers.get(account)
        if breaker is None or breaker.cause is None:
            return
        if breaker.record_success(breaker.begin(now, stream=False), now, 0.0, stream=False):
            self.handle_change((*account, ""), breaker)

    def handle_change(self, key: AccountModelKey, breaker: CircuitBreaker) -> None:
        """Report that a breaker has opened or closed."""
        self._update_all_closed()
        self._on_change(key, breaker)

    def forget(self, providers: Collection[str]) -> None:
        """Forget the state of some providers."""
        for target_key in [key for key in self.target_breakers if key[0] in providers]:
            del self.target_breakers[target_key]
        for account in [key for key in self.account_breakers if key[0] in providers]:
            del self.account_breakers[account]
        self._update_all_closed()

    def _update_all_closed(self) -> None:
        breakers = (*self.target_breakers.values(), *self.account_breakers.values())
        self.all_closed = all(breaker.cause is None for breaker in breakers)

    @property
    def open_count(self) -> int:
        """The number of targets and accounts whose breaker is not closed."""
        if self.all_closed:
            return 0
        breakers = (*self.target_breakers.values(), *self.account_breakers.values())
        return sum(breaker.cause is not None for breaker in breakers)

    def get_skip_reason(self, key: AccountModelKey) -> str:
        """Return why a candidate is not asked in its turn; empty if it is."""
        if self.all_closed:
            return ""
        now = self.clock()
        for breaker in self._find_blocking_breakers(key, now):
            seconds = max(0.0, breaker.retry_at - now)
            return f"is out ({breaker.cause}; {breaker.error_kind}) for {seconds:.0f} s"
        return ""

    def _find_breakers(self, key: AccountModelKey) -> list[CircuitBreaker]:
        breakers = (self.target_breakers.get(key), self.account_breakers.get((key[0], key[1])))
        return [breaker for breaker in breakers if breaker is not None]

    def _find_blocking_breakers(self, key: AccountModelKey, now: float) -> list[CircuitBreaker]:
        """Return the breakers that keep a candidate from its turn."""
        return [breaker for breaker in self._find_breakers(key) if not breaker.allows(now)]
