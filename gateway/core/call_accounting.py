"""Adds up one call: its attempts, what they used, and what that costs."""

from collections.abc import Callable
from decimal import Decimal

from msgspec import Struct
from msgspec.structs import replace

from gateway.core.call import Call
from gateway.core.decision import Decision
from gateway.core.decision_record import DecisionRecord
from gateway.core.errors import Problem
from gateway.core.ledger_rows import (
    ROW_VERSION,
    AnswerFinding,
    AttemptRow,
    CacheOutcome,
    CallState,
    FinalRow,
    IntentRow,
    UsageSource,
)
from gateway.core.loss import Loss
from gateway.core.price import (
    Price,
    compute_baseline_cost,
    compute_cost,
    compute_reservation,
    explain_unknown_cost,
)
from gateway.core.prompt import Prompt
from gateway.core.target import Account, Target, Tier
from gateway.core.token_estimate import fill_usage
from gateway.core.units import UnitBounds
from gateway.core.usage import Usage

_MAX_TEXT_CHARS = 200
_ZERO = Decimal(0)
_NO_USAGE = Usage()
BILLED_PRICE_VERSION = "provider"
"""The price version of a row if the provider says what it billed: that is the cost."""
_EMBEDDINGS = "embeddings"
_UNKNOWN_MEDIA = "input_other"
"""A class in `Usage.media`: tokens that may be text or not; the provider does not say."""
_NO_UNITS: UnitBounds = {}
_UNBILLED_OPERATION = "count_tokens"
"""The operation that no provider bills."""


type IntentRowMaker = Callable[[], IntentRow]
"""A function that makes the intent row of a request that the gateway is about to send."""
type FinalRowMaker = Callable[[], FinalRow]
"""A function that makes the final row of a call that has ended, called once."""


class AttemptAccount(Struct, eq=False):
    """The account of one attempt: a request that the gateway sent or is about to send."""

    number: int
    """The number of the attempt in its call, from 1."""
    target: Target
    account: Account
    timestamp: float
    """The time when it began, in seconds since the epoch."""
    sent_at: float
    """The time when it began, in seconds on the monotonic clock."""
    max_output: int | None
    """The most tokens of output that it may have; None if unknown."""
    reservation: Decimal | None
    """The most USD that it may cost; None if unknown."""
    price_version: str | None
    is_parallel: bool = False
    """True if the gateway sent it beside another attempt, which was late."""
    is_open: bool = True
    """False once it has failed, or if the gateway did not send it after all."""
    ended_at: float | None = None
    """The time when its answer was there, on that clock, if the gateway waits for a better one."""


class CallTotals(Struct, frozen=True):
    """The usage of a call's answer, and the cost of the call in USD."""

    usage: Usage | None
    usage_source: UsageSource | None
    """The party that counted the usage."""
    price: Price | None
    answer_cost: Decimal | None
    """USD of the answer alone."""
    cost: Decimal | None
    """USD of the answer and of the failed attempts before it."""
    estimate: Decimal | None
    """The USD of `cost` that rest on estimated tokens."""
    computed_cost: Decimal | None = None
    """USD of the answer by the gateway's prices, if the provider states its bill."""
    reserved: Decimal | None = None
    """The most USD beyond `cost`; None if there are none, or no bound."""


class CallAccount(Struct, eq=False):
    """The account of one call, with the accounts of its attempts.

    `close` closes it once. Then `make_final_row` makes its row.
    """

    call: Call
    config: str
    operation: str | None = None
    """The name of the pass-through endpoint; None for text and embeddings."""
    is_unbilled: bool = False
    """True if no provider bills such a call."""
    reserved_for_job: Decimal | None = None
    """The most USD that the job costs which the call begins; None if it begins none."""
    unit_bounds: UnitBounds = _NO_UNITS
    """The most that the call may use of each unit that its provider bills beside tokens."""
    requested_model: str | None = None
    stream: bool = False
    """True if the client asks for a stream."""
    compares_baseline: bool = False
    """True if the gateway compares with a baseline."""
    effort: str | None = None
    """The effort that the client set."""
    end_user: str | None = None
    """The hash of the end user whom the client names; None if it names none."""
    decision: Decision | None = None
    make_decision_record: Callable[[], DecisionRecord | None] | None = None
    """A function that records what the decision rested on, called once no client waits."""
    refused_guards: tuple[str, ...] = ()
    """The guards that matched, for a call that the gateway refused without a decision."""
    baseline: Target | None = None
    """The baseline target, for calls that name no model themselves."""
    target: Target | None = None
    account: Account | None = None
    attempts: list[AttemptAccount] = []
    attempt: AttemptAccount | None = None
    """The attempt that gave the answer; otherwise the last one that was not parallel."""
    cache: CacheOutcome = "off"
    cache_similarity: float | None = None
    """The similarity to the question whose cached answer this is; None if the two are equal."""
    losses: tuple[Loss, ...] = ()
    usage: Usage | None = None
    """The usage, as far as the provider reported it."""
    content_bytes: int | None = None
    """Bytes of the answer's content; None if the gateway could not read any."""
    is_complete: bool = False
    """True if the answer came to its end."""
    is_closed: bool = False
    """True if the account is closed."""
    served_model: str | None = None
    upstream_id: str | None = None
    response_id: str | None = None
    """The id in the body of the provider's answer."""
    finish: str | None = None
    """The provider's own word for why its answer ended."""
    checked: AnswerFinding | None = None
    """The finding of the free check in the first answer; None if it was not checked."""
    escalated: Tier | None = None
    """The decided tier, if the tier above was asked too; None if it was not."""
    first_content: float | None = None
    prompt_tokens: int = 0
    """The estimated tokens of the prompt."""
    prompt_bound: int | None = None
    """The most tokens of the prompt; None if the request does not show it."""
    max_output: int | None = None
    """The tokens of output that the client allows in each choice."""
    choices: int = 1
    service_tier: str | None = None
    """The service tier that the client asks for."""
    prompt_media: tuple[str, ...] = ()
    """The modalities that the prompt may have beside text."""
    _wasted_cost: Decimal = _ZERO
    _wasted_estimate: Decimal = _ZERO
    _has_unknown_cost: bool = False
    """True if the provider may have billed a failed attempt, and the amount is unknown."""
    _open_cost_bound: Decimal | None = _ZERO
    """The most USD that failed attempts may have cost beyond `_wasted_cost`; None if there is no
    bound."""

    def __post_init__(self) -> None:
        self.is_unbilled = self.call.operation == _UNBILLED_OPERATION

    def record_prompt(self, prompt: Prompt, tokens: int, bound: int | None) -> None:
        """Record what the client asks for.

        `tokens` is the estimated length of the prompt, `bound` the greatest, see `prompt_bound`.
        """
        self.requested_model, self.stream, self.effort = prompt.model, prompt.stream, prompt.effort
        self.prompt_tokens, self.prompt_bound = tokens, bound
        self.max_output, self.choices = prompt.max_output, prompt.choices
        self.service_tier = prompt.service
        if prompt.images or prompt.files or prompt.audio:
            self.prompt_media = prompt.media

    def start_attempt(
        self,
        target: Target,
        account: Account,
        timestamp: float,
        now: float,
        *,
        is_parallel: bool = False,
    ) -> AttemptAccount:
        """Add an attempt that the gateway is about to send, and return its account.

        From now on `make_intent_row` can make its row. `timestamp` is in seconds since the epoch;
        `now` is in seconds on the monotonic clock.
        """
        call = self.call
        # An answer with vectors has no output tokens.
        max_output = (
            0
            if call.operation == _EMBEDDINGS
            else target.compute_max_output(self.max_output, self.choices)
        )
        price_version = reservation = None
        if (price := target.price) is not None:
            price = price.find_in_force(call.received_at)
            price_version = price.version
            reservation = compute_reservation(
                price,
                target.compute_max_input(self.prompt_bound),
                max_output,
                self.service_tier,
                self.prompt_media,
                self.unit_bounds,
            )
        if self.is_unbilled:
            reservation = _ZERO
        elif self.reserved_for_job is not None:
            reservation = self.reserved_for_job
        attempts = self.attempts
        attempt = AttemptAccount(
            len(attempts) + 1,
            target,
            account,
            timestamp,
            now,
            max_output,
            reservation,
            price_version,
            is_parallel,
        )
        attempts.append(attempt)
        if not is_parallel:
            self.attempt, self.target, self.account = attempt, target, account
        return attempt

    def make_intent_row(self, attempt: AttemptAccount) -> IntentRow:
        """Make the intent row of an attempt. The result of the attempt does not change it."""
        call, decision, target = self.call, self.decision, attempt.target
        key, lab, tier = call.key, "", ""
        tags: tuple[str, ...] = ()
        if decision is not None:
            tags, lab, tier = decision.tags, decision.lab, decision.tier or ""
        return IntentRow(
            call.id,
            attempt.timestamp,
            key.name,
            call.dialect,
            lab,
            tier,
            target.provider.name,
            target.model,
            self.config,
            ROW_VERSION,
            attempt.number,
            key.tenant,
            key.team,
            self.end_user,
            tags=tags,
            operation=self.operation,
            stream=self.stream,
            account=attempt.account.name,
            input=self.prompt_tokens,
            most=attempt.max_output,
            reserved=attempt.reservation,
            price=attempt.price_version,
        )

    def cancel_attempt(self, attempt: AttemptAccount) -> None:
        """Remove an attempt that the gateway did not send: no request leaves without its row."""
        attempt.is_open = False
        self.attempts.remove(attempt)
        if not self.attempts:
            self.target = self.account = None

    def fail_attempt(
        self, attempt: AttemptAccount, problem: Problem, timestamp: float, now: float
    ) -> AttemptRow | None:
        """Record that an attempt gave no answer that the client gets, and return its row.

        Return None if it failed before.
        """
        if not attempt.is_open:
            return None
        attempt.is_open = False
        target, sent_at = attempt.target, timestamp - (now - attempt.sent_at)
        duration = (now if attempt.ended_at is None else attempt.ended_at) - attempt.sent_at
        wasted_cost, estimated_cost, usage, source = self._price_failure(target, problem)
        if wasted_cost is None or estimated_cost is None:
            self._has_unknown_cost = True
        else:
            self._wasted_cost += wasted_cost
            self._wasted_estimate += estimated_cost
        is_final = (
            problem.spent == "no"
            or (usage is not None and usage.billed is not None)
            or (source == "provider" and wasted_cost is not None)
        )
        reserved = None
        if not is_final and not self.is_unbilled:
            reserved = _find_open_cost(attempt.reservation, wasted_cost)
            self._open_cost_bound = _add_known(self._open_cost_bound, reserved)
        return AttemptRow(
            id=self.call.id,
            attempt=attempt.number,
            at=sent_at,
            provider=target.provider.name,
            account=attempt.account.name,
            model=target.model,
            status=problem.upstream_status,
            problem=problem.name or problem.kind,
            duration=round(duration, 6),
            input=usage.prompt if usage is not None else None,
            output=usage.completion if usage is not None else None,
            cost=wasted_cost,
            estimate=estimated_cost,
            reserved=reserved,
        )

    def attempt_finished(self, attempt: AttemptAccount) -> None:
        """Record that the call has the answer of an attempt."""
        self.attempt, self.target, self.account = attempt, attempt.target, attempt.account

    def record_first_content(self, now: float) -> None:
        """Record when the client gets its first content; `now` is on `call.started_at`'s clock."""
        self.first_content = round(now - self.call.started_at, 6)

    @property
    def has_open_attempt(self) -> bool:
        """True if the gateway sent an attempt that has not failed."""
        return self.attempt is not None and self.attempt.is_open

    @property
    def has_wasted_cost(self) -> bool:
        """True if a provider billed, or may have billed, an attempt whose answer is not served.

        That of an answer that waits for a better one counts too.
        """
        return (
            self._has_unknown_cost
            or self._wasted_cost > 0
            or any(attempt.is_open and attempt.ended_at is not None for attempt in self.attempts)
        )

    def explain_missing_price(self) -> str | None:
        """Say which price the answer lacks; None if it lacks none, or has no cost."""
        if not self.has_open_attempt or self.cache == "hit" or self.is_unbilled:
            return None
        if self.usage is not None and self.usage.billed is not None:
            return None
        return explain_unknown_cost(self._complete_usage()[0], self._find_target_price(self.target))

    def close(self) -> CallTotals:
        """Close the account and return its totals. Raises RuntimeError if it is closed already."""
        if self.is_closed:
            raise RuntimeError("a call has one final entry")
        self.is_closed = True
        usage, source = self._complete_usage()
        price = self._find_target_price(self.target)
        computed_cost, reserved = None, self._open_cost_bound
        if (
            self.attempt is not None
            and self.attempt.is_open
            and self.cache != "hit"
            and not self.is_unbilled
        ):
            answer_cost, estimated_answer_cost = _price_usage(usage, source, self.usage, price)
            if self.usage is not None and self.usage.billed is not None:
                computed_cost = compute_cost(usage, price)
            elif source != "provider" or answer_cost is None:
                open_cost = _find_open_cost(self.attempt.reservation, answer_cost)
                reserved = _add_known(reserved, open_cost)
        else:
            answer_cost = estimated_answer_cost = _ZERO
        total_cost, estimated_cost = answer_cost, estimated_answer_cost
        if self._has_unknown_cost and not self.has_open_attempt:
            total_cost = estimated_cost = None
        elif self._wasted_cost is not _ZERO:
            total_cost = _add_known(answer_cost, self._wasted_cost)
            estimated_cost = _add_known(estimated_answer_cost, self._wasted_estimate)
        if total_cost is None and reserved is not None:
            reserved += self._wasted_cost
        return CallTotals(
            *(usage, source, price, answer_cost, total_cost, estimated_cost, computed_cost),
            reserved=reserved or None,
        )

    def make_final_row(
        self,
        totals: CallTotals,
        state: CallState,
        status: int,
        now: float,
        *,
        problem: str | None = None,
        aborted_by: str | None = None,
    ) -> FinalRow:
        """Make the final row of an account that `close` has closed with these totals.

        `now` is on the monotonic clock of `call.started_at`.
        """
        call, decision, target, account = self.call, self.decision, self.target, self.account
        key = call.key
        usage = totals.usage or _NO_USAGE
        source = totals.usage_source
        is_cache_hit = self.cache == "hit"
        if state == "settled" and source != "provider" and not self.is_unbilled:
            state = "estimated"
        lab = tier = decision_source = rule = arm = confidence = switch_cost = None
        tags: tuple[str, ...] = ()
        guards = self.refused_guards
        if decision is not None:
            tags, guards = decision.tags, decision.guards
            lab = decision.lab
            tier = decision.tier
            decision_source = decision.source
            rule, arm, confidence = decision.rule, decision.arm, decision.confidence
            if decision.switch is not None and decision.switch.has_moved:
                switch_cost = decision.switch.cost
        provider = model = None
        effort = self.effort or None
        if target is not None:
            provider, model = target.provider.name, target.model or None
            effort = effort or target.effort
        decision_record = None if self.make_decision_record is None else self.make_decision_record()
        turn = None if decision_record is None else decision_record.turn
        conversation = None if turn is None else turn.conversation or None
        cache_write = usage.cache_write
        price_version = baseline = response_id = finish = None
        if self.compares_baseline:
            baseline = self._compute_baseline(totals.usage, totals.price)
        if not is_cache_hit:
            price_version = _find_price_version(totals.usage, totals.price)
            finish = _shorten(self.finish)
            if self.response_id is not None:
                response_id = self._sanitize_id(self.response_id)
        # By position, in the order of the class: 62 keywords would go through a dict, which takes
        # 30,000 machine instructions of the million of a plain call.
        return FinalRow(
            call.id,
            call.received_at,
            key.name,
            call.dialect,
            state,
            self.config,
            ROW_VERSION,
            key.tenant,
            key.team,
            self.end_user,
            tags,
            self.operation,
            _shorten(self.requested_model),
            self.stream,
            status,
            problem,
            aborted_by,
            lab,
            tier,
            decision_source,
            rule,
            arm,
            guards,
            confidence,
            conversation,
            switch_cost,
            provider,
            account.name if account is not None else None,
            model,
            effort,
            usage.service,
            _shorten(self.served_model),
            len(self.attempts),
            self.cache,
            self.cache_similarity,
            tuple(dict.fromkeys([loss.field for loss in self.losses])),
            source,
            usage.input,
            usage.cache_read,
            sum(cache_write.values()) if cache_write else None,
            cache_write,
            usage.output,
            usage.reasoning,
            usage.tools,
            usage.media,
            usage.units,
            totals.cost,
            None if self._has_unknown_cost else self._wasted_cost,
            totals.estimate,
            None if is_cache_hit else usage.billed,
            totals.computed_cost,
            totals.reserved,
            baseline,
            price_version,
            self.first_content,
            round(now - call.started_at, 6),
            self.upstream_id,
            response_id,
            finish,
            self.checked,
            self.escalated,
            decision_record,
        )

    def _find_target_price(self, target: Target | None) -> Price | None:
        """Return a target's price when the gateway received the call; None if unknown."""
        price = target.price if target is not None else None
        return price.find_in_force(self.call.received_at) if price is not None else None

    def _price_failure(
        self, target: Target, problem: Problem
    ) -> tuple[Decimal | None, Decimal | None, Usage | None, UsageSource | None]:
        """Return the USD of a failed attempt, their estimated part, its usage and who counted."""
        if problem.spent == "no" or self.is_unbilled:
            return _ZERO, _ZERO, None, None
        if problem.usage is None:
            return None, None, None, None
        usage, source = fill_usage(
            problem.usage,
            prompt_tokens=self.prompt_tokens,
            content_bytes=problem.content_bytes,
            is_complete=problem.has_ended,
            may_estimate=self.operation is None,
        )
        price = self._find_target_price(target)
        return *_price_usage(usage, source, problem.usage, price), usage, source

    def _complete_usage(self) -> tuple[Usage | None, UsageSource | None]:
        """Return the usage of the answer, and which party counted it."""
        if self.cache == "hit":
            return self.usage, None if self.usage is None else "recording"
        if self.attempt is None or not self.attempt.is_open:
            return None, None
        reported = self.usage
        if self.is_unbilled:
            return reported, None if reported is None else "provider"
        if self.operation is not None and reported is None:
            return None, None
        usage, source = fill_usage(
            reported,
            prompt_tokens=self.prompt_tokens,
            content_bytes=self.content_bytes,
            is_complete=self.is_complete,
            may_estimate=self.operation is None,
        )
        if self.prompt_media and self.call.operation == _EMBEDDINGS and not usage.media:
            # The provider does not separate them from text.
            usage = replace(usage, media={_UNKNOWN_MEDIA: usage.input or 0})
        return usage, source

    def _sanitize_id(self, provider_id: str) -> str:
        """Return a provider's id for a row: shortened, and without the credential."""
        if self.account is not None and self.account.secret:
            provider_id = provider_id.replace(self.account.secret, "***")
        return provider_id[:_MAX_TEXT_CHARS]

    def _compute_baseline(self, usage: Usage | None, price: Price | None) -> Decimal | None:
        """Return the USD of the same answer on the baseline; 0 for a call without an answer."""
        if self.decision is None:
            return None
        if self.is_unbilled or not (self.has_open_attempt or self.cache == "hit"):
            return _ZERO
        if self.decision.source == "pin" or self.decision.tier is None:
            # The gateway did not choose the model.
            billed = None if usage is None else usage.billed
            return compute_cost(usage, price) if billed is None else billed
        return compute_baseline_cost(usage, self._find_target_price(self.baseline), price)


def _shorten(text: str | None) -> str | None:
    return None if text is None else text[:_MAX_TEXT_CHARS]


def _find_price_version(usage: Usage | None, price: Price | None) -> str | None:
    """Return the version of the price that gives an answer's cost."""
    if usage is not None and usage.billed is not None:
        return BILLED_PRICE_VERSION
    service_price = (
        price.find_service(usage.service if usage is not None else None) if price else None
    )
    return None if service_price is None else service_price.version


def _price_usage(
    usage: Usage | None, source: UsageSource | None, reported: Usage | None, price: Price | None
) -> tuple[Decimal | None, Decimal | None]:
    """Return the USD of a usage and their estimated part: as billed, otherwise by price."""
    if reported is not None and reported.billed is not None:
        return reported.billed, _ZERO
    total = compute_cost(usage, price)
    if total is not None and source == "provider":
        return total, _ZERO  # the usual case
    return total, _compute_estimated_part(total, reported, price)


def _compute_estimated_part(
    total: Decimal | None, reported: Usage | None, price: Price | None
) -> Decimal | None:
    """Return the USD of an answer that rest on the gateway's own counts; None if unknown.

    `reported` is the usage as far as the provider counted it.
    """
    if total is None or reported is None or reported.input is None:
        return total
    reported_usage = replace(reported, output=reported.output or 0)
    return total - (compute_cost(reported_usage, price) or _ZERO)


def _find_open_cost(reservation: Decimal | None, cost: Decimal | None) -> Decimal | None:
    """Return the most USD beyond a cost that is unknown or not final; None if there is no bound."""
    if cost is None or reservation is None:
        return reservation
    return max(_ZERO, reservation - cost)


def _add_known(first: Decimal | None, second: Decimal | None) -> Decimal | None:
    return None if first is None or second is None else first + second
