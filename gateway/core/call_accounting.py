"""Adds up one call: what was asked of whom, what it used, and what that costs."""

from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from gateway.core.call import Call
from gateway.core.decision import Decision
from gateway.core.decision_record import DecisionRecord
from gateway.core.errors import Problem
from gateway.core.ledger_rows import (
    CLASS,
    VERSION,
    AttemptRow,
    Cache,
    FinalRow,
    IntentRow,
    Source,
    State,
    become,
    placed,
)  # fmt: skip
from gateway.core.loss import Loss
from gateway.core.price import Price, compared, cost, reserve, why_unknown
from gateway.core.prompt import Prompt
from gateway.core.target import Account, Target
from gateway.core.token_estimate import fill
from gateway.core.usage import Usage

_LONG = 200
_NOTHING = Decimal(0)
_UNUSED = Usage()
_INTENT, _ENTRY = placed(IntentRow), placed(FinalRow)
_SURE, _NEAR = 1e6, 1e-3
"""Seconds up to which a millionth is told apart, and how near a half its digits then may seem."""
BILLED = "provider"
"""The version of a price that is not known, where the provider says what it billed."""
_VECTORS = "embeddings"
_OTHER = "input_other"
"""In `Usage.media`: tokens of which nobody knows how many are of text."""
_UNBILLED = "count_tokens"
"""The operation that no provider bills."""


type Opening = Callable[[], IntentRow]
"""Makes the row of a request that is about to be sent."""


class AttemptAccount(NamedTuple):
    """One of two attempts of a call that run at the same time."""

    number: int = 0
    target: Target | None = None
    account: Account | None = None
    open: bool = False
    reserved: Decimal | None = _NOTHING
    sent: float = 0.0


class CallTotals(Struct, frozen=True):
    """What the answer of a call used, and what the call costs in USD."""

    used: Usage | None
    source: Source | None
    """Who counted it."""
    price: Price | None
    answer: Decimal | None
    """Of the answer alone."""
    cost: Decimal | None
    """With what failed before it."""
    estimate: Decimal | None
    """Of the cost, what rests on estimated tokens."""


class CallAccount:
    """The account of one call. `end` closes it once, then `row` makes its entry."""

    __slots__ = (
        "_bound",
        "_guessed",
        "_number",
        "_sent",
        "_unknown",
        "_wasted",
        "account",
        "asked",
        "attempts",
        "baseline",
        "basis",
        "cache",
        "call",
        "choices",
        "closed",
        "compared",
        "complete",
        "config",
        "decision",
        "effort",
        "first_content",
        "heard",
        "losses",
        "media",
        "most",
        "near",
        "open",
        "prompt",
        "reserved",
        "response_id",
        "served",
        "service",
        "stream",
        "target",
        "upstream_id",
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
        self.basis: Callable[[], DecisionRecord | None] | None = None
        """What the decision rested on, to be told once nobody waits."""
        self.compared = False
        """Whether calls are compared with a baseline."""
        self.baseline: Target | None = None
        """What a call is compared with that names no model itself."""
        self.target: Target | None = None
        self.account: Account | None = None
        self.attempts = 0
        self.open = False
        """An attempt was sent and has not failed."""
        self.cache: Cache = "off"
        self.near: float | None = None
        """How near the question is whose answer from the cache this is; None of an equal one."""
        self.losses: tuple[Loss, ...] = ()
        self.usage: Usage | None = None  # as far as the provider told
        self.heard: int | None = None
        """Bytes of the answer's content; None where nobody has heard it."""
        self.complete = False  # True if the answer came to its end
        self.served: str | None = None
        self.upstream_id: str | None = None
        self.response_id: str | None = None  # the one in the body of the provider's answer
        self.first_content: float | None = None
        self.closed = False
        self.prompt = 0
        """Tokens that the provider reads, estimated."""
        self.most: int | None = None
        """Tokens of output that the client allows, in each choice."""
        self.choices = 1
        self.service: str | None = None
        """The service tier that the client asks for."""
        self.media = False  # True if vectors are asked for of more than text
        self.reserved: Decimal | None = _NOTHING
        """USD that the open attempt may cost at most."""
        self._wasted = _NOTHING
        self._guessed = _NOTHING
        self._unknown = False
        """A failed attempt may have been billed, and nobody knows what."""
        self._bound: Decimal | None = _NOTHING
        """USD that such attempts may have cost at most."""
        self._sent = 0.0
        self._number = 0
        """Which request of the call the open attempt is."""

    def read(self, prompt: Prompt, tokens: int) -> None:
        """Note what is asked; `tokens` is the estimated length of the prompt."""
        self.asked, self.stream, self.effort = prompt.model, prompt.stream, prompt.effort
        self.prompt = tokens
        self.most, self.choices = prompt.max_output, prompt.choices
        self.service = prompt.service
        if self.call.operation == _VECTORS:
            self.media = bool(prompt.images or prompt.files or prompt.audio)

    def dial(self, target: Target, account: Account, at: float, now: float) -> Opening:
        """A request is about to be sent, `at` seconds since the epoch, `now` on the clock.

        Its row can be made once it is wanted: it is the same, whatever becomes of the request.
        """
        call, attempt = self.call, self.attempts + 1
        self.attempts = self._number = attempt
        self.target, self.account, self.open, self._sent = target, account, True, now
        # Of vectors nothing comes out.
        most = 0 if call.operation == _VECTORS else target.longest(self.most, self.choices)
        version = reserved = None
        if (price := target.price) is not None:
            price = price.on(call.received_at)
            version, reserved = price.version, reserve(price, self.prompt, most, self.service)
        if call.operation == _UNBILLED:
            reserved = _NOTHING
        self.reserved = reserved
        return partial(self._opening, target, account, at, attempt, most, reserved, version)

    def _opening(
        self,
        target: Target,
        account: Account,
        at: float,
        attempt: int,
        most: int | None,
        reserved: Decimal | None,
        price: str | None,
    ) -> IntentRow:
        """Made with what may be another by the time that it is made."""
        call, decision = self.call, self.decision
        key, lab, tier = call.key, "", ""
        tags: tuple[str, ...] = ()
        if decision is not None:
            tags, lab, tier = decision.tags, decision.lab, decision.tier or ""
        row = _INTENT(
            VERSION, call.id, at, attempt, key.name, key.tenant, tags, call.dialect, self.stream,
            lab, tier, target.provider.name, account.name, target.model,
            self.prompt, most, reserved, price, self.config,
        )  # fmt: skip
        become(row, CLASS, IntentRow)
        return row

    def unsent(self) -> None:
        """The request that was about to be sent was not, since nothing may go without its row."""
        self.attempts -= 1
        self.open, self.reserved = False, _NOTHING
        if self.attempts == 0:
            self.target = self.account = None

    def fail(self, problem: Problem, at: float, now: float) -> AttemptRow | None:
        """The open attempt gave no answer; None where nothing was sent."""
        target = self.target
        if not self.open or target is None:
            return None
        self.open = False
        billed, guessed, usage = self._lost(problem)
        if billed is None or guessed is None:
            self._unknown, self._bound = True, _sum(self._bound, self.reserved)
        else:
            self._wasted += billed
            self._guessed += guessed
        return AttemptRow(
            id=self.call.id,
            attempt=self._number,
            at=at - (now - self._sent),
            provider=target.provider.name,
            account=self.account.name if self.account is not None else None,
            model=target.model,
            status=problem.upstream_status,
            problem=problem.name or problem.kind,
            duration=micros(now - self._sent),
            input=usage.prompt if usage is not None else None,
            output=usage.completion if usage is not None else None,
            cost=billed,
            estimate=guessed,
            reserved=self.reserved if billed is None else None,
        )

    def aside(self, side: AttemptAccount | None = None) -> AttemptAccount:
        """Put what is known of the open attempt aside for another that runs at the same time.

        `side` is what this gave for the other before; None where the other is yet to be sent.
        """
        was = AttemptAccount(
            self._number, self.target, self.account, self.open, self.reserved, self._sent
        )
        found = AttemptAccount() if side is None else side
        self._number, self.target, self.account, self.open, self.reserved, self._sent = found
        return was

    @property
    def spent(self) -> bool:
        """Whether an attempt that gave no answer was billed, or may have been."""
        return self._unknown or self._wasted > 0

    def price(self) -> Price | None:
        """The target's price when the call was received; None where it is unknown."""
        return self._priced(self.target)

    def unpriced(self) -> str | None:
        """What price the answer lacks; None where it lacks none, or has no cost."""
        if not self.open or self.cache == "hit" or self.call.operation == _UNBILLED:
            return None
        if self.usage is not None and self.usage.billed is not None:
            return None
        return why_unknown(self._filled()[0], self.price())

    def end(self) -> CallTotals:
        """What the call comes to. Its account is closed: a second end raises RuntimeError."""
        if self.closed:
            raise RuntimeError("a call has one final entry")
        self.closed = True
        found, source = self._filled()
        target = self.target
        if (price := target.price if target is not None else None) is not None:
            price = price.on(self.call.received_at)
        if self.open and self.cache != "hit" and self.call.operation != _UNBILLED:
            answer, guessed = _priced_as(found, source, self.usage, price)
        else:
            answer = guessed = _NOTHING
        total, estimate = answer, guessed
        if self._unknown and not self.open:
            total = estimate = None
        elif self._wasted is not _NOTHING:
            total, estimate = _sum(answer, self._wasted), _sum(guessed, self._guessed)
        return CallTotals(found, source, price, answer, total, estimate)

    def row(
        self,
        sums: CallTotals,
        state: State,
        status: int,
        now: float,
        *,
        problem: str | None = None,
        aborted_by: str | None = None,
    ) -> FinalRow:
        """The final entry of an account that has ended with these sums.

        `now` is on the monotonic clock of `call.started`.
        """
        call, decision, target, account = self.call, self.decision, self.target, self.account
        key, used, source, hit = call.key, sums.used or _UNUSED, sums.source, self.cache == "hit"
        if state == "settled" and source != "provider":
            state = "estimated"
        lab = tier = decided = rule = confidence = left = None
        tags: tuple[str, ...] = ()
        if decision is not None:
            tags, lab, tier, decided = decision.tags, decision.lab, decision.tier, decision.source
            rule, confidence = decision.rule, decision.confidence
            if decision.switch is not None and decision.switch.moved:
                left = decision.switch.cost
        provider = model = None
        effort = self.effort or None
        if target is not None:
            provider, model = target.provider.name, target.model
            effort = effort or target.effort
        basis = None if self.basis is None else self.basis()
        turn = None if basis is None else basis.turn
        conversation = None if turn is None else turn.conversation or None
        written = used.cache_write
        row = _ENTRY(
            VERSION, call.id, call.received_at, key.name, key.tenant, tags, call.dialect,
            self.asked[:_LONG] if self.asked is not None else None,
            self.stream, state, status, problem, aborted_by,
            lab, tier, decided, rule, confidence, conversation, left,
            provider, account.name if account is not None else None, model, effort, used.service,
            self.served[:_LONG] if self.served is not None else None,
            self.attempts, self.cache, self.near, _fields(self.losses) if self.losses else (),
            source, used.input, used.cache_read, sum(written.values()) if written else None,
            written, used.output, used.reasoning, used.tools, used.media,
            sums.cost, None if self._unknown else self._wasted, sums.estimate,
            None if hit else used.billed,
            self._most(sums.answer) if self._unknown or sums.answer is None else None,
            self._compare(sums.used, sums.price) if self.compared else None,
            None if hit else _version(sums.used, sums.price),
            self.first_content, micros(now - call.started), self.upstream_id,
            None if hit or self.response_id is None else self._own_id(self.response_id),
            self.config, basis,
        )  # fmt: skip
        become(row, CLASS, FinalRow)
        return row

    def _priced(self, target: Target | None) -> Price | None:
        price = target.price if target is not None else None
        return price.on(self.call.received_at) if price is not None else None

    def _lost(self, problem: Problem) -> tuple[Decimal | None, Decimal | None, Usage | None]:
        """USD of a failed attempt, what of them is estimated, and what it used."""
        if problem.spent == "no" or self.call.operation == _UNBILLED:
            return _NOTHING, _NOTHING, None
        if problem.usage is None:
            return None, None, None
        usage, source = fill(problem.usage, prompt=self.prompt, heard=problem.heard, complete=False)
        return *_priced_as(usage, source, problem.usage, self.price()), usage

    def _filled(self) -> tuple[Usage | None, Source | None]:
        """What the answer used, and who counted it."""
        if self.cache == "hit":
            return self.usage, None if self.usage is None else "recording"
        if not self.open:
            return None, None
        told = self.usage
        if self.call.operation == _UNBILLED:
            return told, None if told is None else "provider"
        if self.complete and told is not None and told.both and not self.media:
            return told, "provider"  # as `fill` has it, and as it mostly is
        used, source = fill(told, prompt=self.prompt, heard=self.heard, complete=self.complete)
        if self.media and not used.media:  # the provider does not tell them from text
            used = replace(used, media={_OTHER: used.input or 0})
        return used, source

    def _own_id(self, told: str) -> str:
        """Return an id of the provider's as a row has it: cut, and without the credential."""
        secret = "" if self.account is None else self.account.secret
        return (told.replace(secret, "***") if secret else told)[:_LONG]

    def _most(self, answer: Decimal | None) -> Decimal | None:
        """USD that what is unknown may have cost at most; None where nothing is, or no bound."""
        if answer is None:
            return _sum(self.reserved, self._bound)
        return self._bound if self._unknown else None

    def _compare(self, usage: Usage | None, price: Price | None) -> Decimal | None:
        """USD that the same answer would have cost on the baseline; 0 of a call without one."""
        if self.decision is None:
            return None
        if self.call.operation == _UNBILLED or not (self.open or self.cache == "hit"):
            return _NOTHING
        if self.decision.source == "pin" or self.decision.tier is None:
            return cost(usage, price)  # it was not the gateway's choice
        return compared(usage, self._priced(self.baseline), price)


def micros(seconds: float) -> float:
    """As `round(seconds, 6)`, which takes three times as long.

    Where the next digits are not near a half, which product and sum might be rounded over, the
    nearest millionth is known; of whole numbers a quotient is the nearest number there is.
    """
    if 0.0 < seconds < _SURE:
        found = seconds * 1e6 + 0.5
        whole = int(found)
        if _NEAR < found - whole < 1.0 - _NEAR:
            return whole / 1e6
    return round(seconds, 6)


def _fields(losses: tuple[Loss, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(loss.field for loss in losses))


def _version(usage: Usage | None, price: Price | None) -> str | None:
    """The price that an answer's cost is by."""
    if usage is not None and usage.billed is not None and cost(usage, price) is None:
        return BILLED
    served = price.serving(usage.service if usage is not None else None) if price else None
    return None if served is None else served.version


def _priced_as(
    usage: Usage | None, source: Source | None, told: Usage | None, price: Price | None
) -> tuple[Decimal | None, Decimal | None]:
    """USD of what was used, by its price, else as billed; and what of them is estimated."""
    total = cost(usage, price)
    if total is not None and source == "provider":
        return total, _NOTHING  # as nearly always
    if total is None and told is not None and told.billed is not None:
        return told.billed, _NOTHING
    return total, _estimated(total, source, told, price)


def _estimated(
    total: Decimal | None, source: Source | None, told: Usage | None, price: Price | None
) -> Decimal | None:
    """What of the USD of an answer rests on the gateway's own counts; None where they are unknown.

    `told` is as far as the provider counted.
    """
    if total is None or source == "provider" or told is None or told.input is None:
        return total
    known = replace(told, output=told.output or 0)
    return total - (cost(known, price) or _NOTHING)


def _sum(one: Decimal | None, other: Decimal | None) -> Decimal | None:
    return None if one is None or other is None else one + other
