"""Which targets and accounts are fit to be asked, learnt from every request: a breaker for each.

It is what this process has seen. Nothing of it is asked of providers: probes are calls that would
have been made anyway, one at a time.
"""

from collections.abc import Callable, Collection
from math import inf
from operator import itemgetter

from gateway.core.errors import Kind, Problem, ProblemError
from gateway.upstream.circuit_breaker import RANK, Cause, CircuitBreaker
from gateway.upstream.provider_quota import Place
from gateway.upstream.retry import Candidate

type Tell = Callable[[Place, CircuitBreaker], object]
"""Told of each change of a breaker; the model of an account's is empty."""

_FAILED: frozenset[Kind] = frozenset(
    {
        "upstream_error",
        "upstream_moved",
        "upstream_overloaded",
        "upstream_timeout",
        "upstream_truncated",
        "upstream_unreachable",
    }
)
_ALIVE: frozenset[Kind] = frozenset({"upstream_rejected", "upstream_context"})
_FORBIDDEN = 403
_SHED = "The providers of this model fail, and are not asked for now. Try again soon."


class InFlightAttempt:
    """One request that is under way: told once what comes of it."""

    __slots__ = ("_begun", "_breaker", "_done", "_health", "_number", "_place", "_stream")

    def __init__(
        self,
        health: "TargetHealth",
        place: Place,
        breaker: CircuitBreaker,
        begun: float,
        stream: bool,  # noqa: FBT001 - the same
    ) -> None:
        self._health = health
        self._place = place
        self._breaker = breaker
        self._begun = begun
        self._stream = stream
        self._done = False
        self._number = breaker.begin(begun, stream=stream)

    def good(self) -> None:
        """It was answered: the answer, or the first content of a stream, is here."""
        health, now = self._health, self._health.clock()
        self._done = True
        if self._breaker.good(self._number, now, now - self._begun, stream=self._stream):
            health.changed(self._place, self._breaker)
        if not health.calm:
            health.vouch(self._place, now)

    def failed(self, problem: Problem) -> None:
        """It gave no answer; or one that broke off, after it had begun."""
        health, breaker, number = self._health, self._breaker, self._number
        now, kind = health.clock(), problem.kind
        if self._done:
            changed = kind in _FAILED and breaker.broke(number, now, kind)
        elif kind in _FAILED:
            changed = breaker.bad(number, now, kind)
        elif kind in _ALIVE:
            changed = breaker.alive(number, now)
        elif kind == "upstream_auth" and problem.upstream_status != _FORBIDDEN:
            changed = breaker.none(number, now)
            health.banned(self._place, kind, now)
        elif kind in ("upstream_auth", "upstream_model"):
            cause: Cause = "credential" if kind == "upstream_auth" else "model"
            changed = breaker.refused(number, now, kind, cause, sure=False)
        else:
            changed = breaker.none(number, now)
        if changed:
            health.changed(self._place, breaker)

    def left(self) -> None:
        """Nobody waits for it any more."""
        if self._breaker.none(self._number, self._health.clock()):
            self._health.changed(self._place, self._breaker)


class UnwatchedAttempt(InFlightAttempt):
    """One request for a model that no lab lists: it has no breaker, as clients choose its name.

    What it tells of the credential of its account is heard.
    """

    __slots__ = ()

    def good(self) -> None:
        """See the class that it extends."""
        if not self._health.calm:
            self._health.vouch(self._place, self._health.clock())

    def failed(self, problem: Problem) -> None:
        """See the class that it extends."""
        if problem.kind == "upstream_auth" and problem.upstream_status != _FORBIDDEN:
            self._health.banned(self._place, problem.kind, self._health.clock())

    def left(self) -> None:
        """See the class that it extends."""


class TargetHealth:
    """The breakers of all targets and accounts. `clock` never goes back."""

    def __init__(
        self, *, clock: Callable[[], float], jitter: Callable[[], float], tell: Tell
    ) -> None:
        self.clock = clock
        self.calm = True
        """Whether all are closed: nothing else need be looked at."""
        self._jitter = jitter
        self._tell = tell
        self.targets: dict[Place, CircuitBreaker] = {}
        self.accounts: dict[tuple[str, str], CircuitBreaker] = {}
        """Those whose credential was refused."""

    def begin(self, place: Place, *, stream: bool, listed: bool = True) -> InFlightAttempt:
        """Note that a request is sent; `listed`: for a model that a lab lists."""
        if not listed:
            return UnwatchedAttempt(self, place, CircuitBreaker(self._jitter), self.clock(), stream)
        breaker = self.targets.get(place)
        if breaker is None:
            breaker = self.targets[place] = CircuitBreaker(self._jitter)
        before = breaker.cause
        sent = InFlightAttempt(self, place, breaker, self.clock(), stream)
        if breaker.cause is not before:  # of those under way too many are late
            self.changed(place, breaker)
        return sent

    def order(self, order: list[Candidate], place: Callable[[Candidate], Place]) -> list[Candidate]:
        """Those that may be asked, those that are slow or shaky last. Raises ProblemError: none."""
        now = self.clock()
        fit: list[Candidate] = []
        last: list[tuple[int, Candidate]] = []
        soonest = inf
        for one in order:
            found = self._out(place(one), now)
            if not found:
                fit.append(one)
            elif not any(breaker.hard for breaker in found):
                last.append((max(RANK[breaker.cause or "slow"] for breaker in found), one))
            else:
                soonest = min(soonest, *(breaker.until for breaker in found if breaker.hard))
        if fit or last:
            return [*fit, *(one for _, one in sorted(last, key=itemgetter(0)))]
        wait = max(1.0, soonest - now + self._jitter())  # not all at once
        raise ProblemError(Problem(kind="overloaded", message=_SHED, retry_after=wait))

    def barred(self, place: Place) -> bool:
        """Whether a candidate must not be asked now."""
        return not self.calm and any(one.hard for one in self._out(place, self.clock()))

    def clean(self, place: Place) -> bool:
        """Whether it has not failed of late."""
        breaker = self.targets.get(place)
        return breaker is None or breaker.clean

    def tail(self, place: Place, *, stream: bool) -> float | None:
        """Seconds in which 95 % of what a candidate is asked has content; None: not known yet."""
        breaker = self.targets.get(place)
        return None if breaker is None else breaker.tail(stream=stream)

    def claim(self, place: Place) -> None:
        """It is asked next: where a probe was due, that is the one."""
        now = self.clock()
        for breaker in self._of(place):
            breaker.claim(now)

    def banned(self, place: Place, kind: str, now: float) -> None:
        """The provider does not take the credential of an account, whatever the model."""
        account = place[0], place[1]
        breaker = self.accounts.get(account)
        if breaker is None:
            breaker = self.accounts[account] = CircuitBreaker(self._jitter)
        number = breaker.begin(now, stream=False)
        if breaker.refused(number, now, kind, "credential", sure=True):
            self.changed((*account, ""), breaker)

    def vouch(self, place: Place, now: float) -> None:
        """An account was served: its credential is good again."""
        account = place[0], place[1]
        breaker = self.accounts.get(account)
        if breaker is None or breaker.cause is None:
            return
        if breaker.good(breaker.begin(now, stream=False), now, 0.0, stream=False):
            self.changed((*account, ""), breaker)

    def changed(self, place: Place, breaker: CircuitBreaker) -> None:
        """A breaker has opened, or is closed again."""
        self._settle()
        self._tell(place, breaker)

    def forget(self, providers: Collection[str]) -> None:
        """Nothing is known of some providers any more."""
        for place in [one for one in self.targets if one[0] in providers]:
            del self.targets[place]
        for account in [one for one in self.accounts if one[0] in providers]:
            del self.accounts[account]
        self._settle()

    def _settle(self) -> None:
        every = (*self.targets.values(), *self.accounts.values())
        self.calm = all(one.cause is None for one in every)

    @property
    def open(self) -> int:
        """Targets and accounts that are not closed."""
        if self.calm:
            return 0
        every = (*self.targets.values(), *self.accounts.values())
        return sum(one.cause is not None for one in every)

    def why(self, place: Place) -> str:
        """Why a candidate is not asked in its turn; empty where it is."""
        if self.calm:
            return ""
        now = self.clock()
        for one in self._out(place, now):
            return f"is out ({one.cause}; {one.error}) for {max(0.0, one.until - now):.0f} s"
        return ""

    def _of(self, place: Place) -> list[CircuitBreaker]:
        found = (self.targets.get(place), self.accounts.get((place[0], place[1])))
        return [one for one in found if one is not None]

    def _out(self, place: Place, now: float) -> list[CircuitBreaker]:
        """The breakers that keep a candidate from being asked in its turn."""
        return [one for one in self._of(place) if not one.fit(now)]
