"""What is known of a call while it runs, and the one final entry that it becomes."""

from decimal import Decimal

from gateway.core.call import Call
from gateway.core.decision import Decision
from gateway.core.entry import Cache, Entry, State
from gateway.core.loss import Loss
from gateway.core.price import Price, cost
from gateway.core.problem import Problem
from gateway.core.target import Account, Target
from gateway.core.usage import Usage

_LONG = 200
_UNSERVED: frozenset[State] = frozenset({"refused", "failed"})


class Tally:
    """Adds up one call. `entry` is made once: a second closing is a bug and raises."""

    __slots__ = (
        "account", "asked", "attempts", "cache", "call", "closed", "config", "decision",
        "effort", "first_content", "losses", "served", "spent", "stream", "target", "upstream_id",
        "usage",
    )  # fmt: skip

    def __init__(self, call: Call, config: str) -> None:
        self.call = call
        self.config = config
        self.asked: str | None = None
        self.stream = False
        self.effort: str | None = None
        """What the client set."""
        self.decision: Decision | None = None
        self.target: Target | None = None
        self.account: Account | None = None
        self.attempts = 0
        self.cache: Cache = "off"
        self.losses: tuple[Loss, ...] = ()
        self.usage: Usage | None = None
        self.served: str | None = None
        self.upstream_id: str | None = None
        self.first_content: float | None = None
        self.spent = False
        """An attempt that failed may have been billed."""
        self.closed = False

    def fail(self, problem: Problem) -> None:
        """Note an attempt that gave no answer."""
        self.spent = self.spent or problem.spent == "maybe"

    def cost(self) -> Decimal | None:
        """USD of the answer so far; exactly zero for one from the cache, None where unknown."""
        if self.cache == "hit":
            return Decimal(0)
        return cost(self.usage, self.price())

    def price(self) -> Price | None:
        """The target's price when the call was received; None where it is unknown."""
        price = self.target.price if self.target is not None else None
        return price.on(self.call.received_at) if price is not None else None

    def close(
        self,
        state: State,
        status: int,
        now: float,
        *,
        problem: str | None = None,
        aborted_by: str | None = None,
    ) -> Entry:
        """The final entry, `now` on the monotonic clock of `call.started`."""
        if self.closed:
            raise RuntimeError("a call has one final entry")
        self.closed = True
        decision, target, usage = self.decision, self.target, self.usage or Usage()
        written = usage.cache_write
        return Entry(
            id=self.call.id,
            at=self.call.received_at,
            key=self.call.key.name,
            tenant=self.call.key.tenant,
            tags=decision.tags if decision is not None else (),
            dialect=self.call.dialect,
            asked=self.asked[:_LONG] if self.asked is not None else None,
            stream=self.stream,
            state=state,
            status=status,
            problem=problem,
            aborted_by=aborted_by,
            lab=decision.lab if decision is not None else None,
            tier=decision.tier if decision is not None else None,
            source=decision.source if decision is not None else None,
            rule=decision.rule if decision is not None else None,
            confidence=decision.confidence if decision is not None else None,
            provider=target.provider.name if target is not None else None,
            account=self.account.name if self.account is not None else None,
            model=target.model if target is not None else None,
            effort=self.effort or (target.effort if target is not None else None),
            served=self.served[:_LONG] if self.served is not None else None,
            attempts=self.attempts,
            cache=self.cache,
            dropped=tuple(dict.fromkeys(loss.field for loss in self.losses)),
            input=usage.input,
            cache_read=usage.cache_read,
            cache_write=sum(written.values()) if written else None,
            output=usage.output,
            reasoning=usage.reasoning,
            cost=Decimal(0) if self._free(state) else self.cost(),
            price=self._version(),
            first_content=self.first_content,
            duration=round(now - self.call.started, 6),
            upstream_id=self.upstream_id,
            config=self.config,
        )

    def _free(self, state: State) -> bool:
        """Whether nobody can have billed anything."""
        return not self.spent and (state in _UNSERVED or self.attempts == 0)

    def _version(self) -> str | None:
        price = self.price()
        return price.version if price is not None and self.cache != "hit" else None
