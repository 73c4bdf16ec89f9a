"""Check a whole answer before its client has it, and ask the tier above once if it has a fault.

The client never gets an error because of that: if the tier above gives no better answer, it gets
the first one. Both answers are billed, and both are in the rows: the one that the client does not
get has a row of its own, with its cost.
"""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

import msgspec

from gateway.core import json_size
from gateway.core.call import Call
from gateway.core.decision import Decision, Plan
from gateway.core.errors import Problem, ProblemError
from gateway.core.target import name_timers
from gateway.core.usage import Usage
from gateway.dialects import ResponseSummary
from gateway.pipeline.accounting import RecordedAccount
from gateway.pipeline.context import ContextLoader
from gateway.pipeline.response_builder import record_usage
from gateway.routing.answer_check import CheckedAnswer, check_answer
from gateway.telemetry.log import Log, locate_error
from gateway.upstream.upstream_request import UpstreamRequest, UpstreamResponse

_MAX_CHECKED_BYTES = 1_000_000
"""The bytes of the longest answer that is checked, so that the event loop does not wait."""
_UNSERVED_PROBLEM = Problem(
    kind="upstream_rejected",
    name="escalated",
    message="The client got the answer of another tier.",
    upstream_status=200,
    spent="maybe",
)

_BUG_PROBLEM = Problem(
    kind="upstream_error", message="The gateway failed on the answer.", spent="maybe"
)
_IDEMPOTENCY_HEADER = "idempotency-key"

type UpstreamRunner = Callable[
    [UpstreamRequest, RecordedAccount, Decision], Awaitable[UpstreamResponse]
]
"""A function that runs a request along its plan. Raises ProblemError."""
type AdmittedAbove = Callable[[], Awaitable[tuple[Decision, Plan]]]
"""A function that returns the decision and plan of the tier above. Raises ProblemError."""


class ServedAnswer(NamedTuple):
    """The request and the answer that the client gets."""

    request: UpstreamRequest
    response: UpstreamResponse


class Escalation:
    """The check of one engine's answers, and the second answer of those with a fault."""

    def __init__(self, run: UpstreamRunner, context_loader: ContextLoader, log: Log) -> None:
        self._run = run
        self._context_loader = context_loader
        self._log = log

    async def improve(
        self,
        request: UpstreamRequest,
        response: UpstreamResponse,
        account: RecordedAccount,
        decision: Decision,
        decide_above: AdmittedAbove,
    ) -> ServedAnswer:
        """Return the answer to serve: the first, or one of the tier above that is not worse."""
        served = ServedAnswer(request, response)
        first = check_response(request, response)
        if first is None or first.is_cut:
            return served
        account.checked = first.finding
        if decision.escalate != "checked" or not first.has_fault:
            return served
        try:
            above, plan = await decide_above()
        except ProblemError:
            return served
        account.mark_ended(response.attempt_account)
        account.reserves_again = True
        account.adopt_decision(above)
        timer_name = name_timers(above.tier, request.dialect.operation)
        second_request = msgspec.structs.replace(
            request, call=_make_second_call(request.call), plan=plan, tier=timer_name
        )
        attempt_count, second = len(account.attempts), None
        try:
            second = await self._ask_again(second_request, account, above)
        except BaseException:
            # The call is over without an answer for the client. The first one is billed.
            self._end_call(
                served, account, decision, has_asked=len(account.attempts) > attempt_count
            )
            raise
        if len(account.attempts) > attempt_count:
            account.escalated = decision.tier
        checked = None if second is None else check_response(second_request, second)
        if second is not None and checked is not None and checked.may_replace(first):
            _record_unserved(response, account)
            self._context_loader.note_tier(request.call, above)
            return ServedAnswer(second_request, second)
        if second is not None:
            _record_unserved(second, account)
        account.adopt_decision(decision)
        account.attempt_finished(response.attempt_account)
        return served

    async def _ask_again(
        self, request: UpstreamRequest, account: RecordedAccount, decision: Decision
    ) -> UpstreamResponse | None:
        """Return the answer of the tier above; None if there is none, for whatever reason."""
        attempt_count = len(account.attempts)
        try:
            return await self._run(request, account, decision)
        except ProblemError:
            return None
        except Exception as error:  # noqa: BLE001 - the client has an answer, whatever fails here
            self._log("bug", call=account.call.id, error=locate_error(error))
            for attempt in account.attempts[attempt_count:]:
                account.attempt_failed(attempt, _BUG_PROBLEM)  # no effect on one that failed before
            return None

    def _end_call(
        self,
        first: ServedAnswer,
        account: RecordedAccount,
        decision: Decision,
        *,
        has_asked: bool,
    ) -> None:
        """Record the first answer of a call that is cancelled while it waits for the second."""
        response = first.response
        if has_asked:
            account.escalated = decision.tier
            _record_unserved(response, account)
            return
        account.adopt_decision(decision)
        account.attempt_finished(response.attempt_account)
        if response.summary is not None:
            record_usage(response.summary, account)


def _make_second_call(call: Call) -> Call:
    """Return the call without its idempotency key: a provider repeats the answer to the same."""
    if _IDEMPOTENCY_HEADER not in call.headers:
        return call
    headers = {name: value for name, value in call.headers.items() if name != _IDEMPOTENCY_HEADER}
    return msgspec.structs.replace(call, headers=headers)


def check_response(request: UpstreamRequest, response: UpstreamResponse) -> CheckedAnswer | None:
    """Check a whole answer in its client's dialect; None if it is not one that can be checked."""
    summary, body, translation = response.summary, response.body, request.dialect.translation
    if not _is_whole(summary) or body is None or translation is None:
        return None
    if len(body) > _MAX_CHECKED_BYTES or json_size.exceeds(body, json_size.MAX_VALUES):
        return None
    return check_answer(translation.decode_response(body), request.translatable.history)


def _is_whole(summary: ResponseSummary | None) -> bool:
    return summary is not None and summary.complete and not summary.is_pending


def _record_unserved(response: UpstreamResponse, account: RecordedAccount) -> None:
    """Write the row of an answer that came and that the client does not get."""
    summary = response.summary
    problem = _UNSERVED_PROBLEM
    if summary is not None:
        problem = msgspec.structs.replace(
            problem,
            usage=summary.usage or Usage(),
            content_bytes=summary.content_bytes,
            has_ended=summary.complete,
        )
    account.attempt_failed(response.attempt_account, problem)
