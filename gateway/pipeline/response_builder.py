"""Build whole responses: from a provider, from the cache, and of errors."""

import time
from collections.abc import Callable

from gateway.cache.cached_response import CachedResponse
from gateway.core.call_accounting import CallTotals
from gateway.core.errors import ProblemError
from gateway.core.ledger_rows import CallState, FinalRow
from gateway.core.loss import make_answer_losses
from gateway.core.target import Target
from gateway.dialects import Dialect, ResponseSummary
from gateway.pipeline.accounting import RecordedAccount
from gateway.pipeline.coalescer import Coalescer, UpstreamSubscriber
from gateway.pipeline.conversation_memory import ConversationMemory
from gateway.pipeline.response import (
    ESTIMATED_HEADER,
    JSON_TYPE,
    STREAM_TYPE,
    UNFINISHED_HEADER,
    Response,
    is_uncounted,
    make_bug_problem,
    make_cost_comment,
    make_decision_headers,
    make_headers,
    make_problem_response,
)
from gateway.telemetry.log import Log
from gateway.upstream.attempt import TRUNCATED_PROBLEM
from gateway.upstream.upstream_request import UpstreamRequest, UpstreamResponse


class ResponseBuilder:
    """Builds whole responses, and settles the accounts of their calls."""

    def __init__(
        self,
        coalescer: Coalescer,
        memory: ConversationMemory,
        log: Log,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the clock of `Call.started_at` as `clock`."""
        self._coalescer = coalescer
        self._memory = memory
        self._log = log
        self._clock = clock

    async def from_upstream(
        self,
        request: UpstreamRequest,
        response: UpstreamResponse,
        account: RecordedAccount,
        subscriber: UpstreamSubscriber | None,
    ) -> Response:
        """Respond with the whole answer of a provider, which equal calls may share."""
        summary, data = response.summary, response.body
        if summary is None or data is None:
            raise RuntimeError("a whole answer is read before it is relayed")
        has_left = subscriber is not None and subscriber.has_left
        if subscriber is not None:
            self._coalescer.land(request, response, summary, data, subscriber.flight)
        billing: FinalRow | CallTotals
        if has_left:
            billing = account.settle_aborted(503)
        elif summary.complete:
            billing = account.settle_deferred()
        elif summary.is_pending:  # the provider works on it in the background
            billing = account.settle("estimated", 200)
        else:
            billing = account.settle(
                "aborted", 200, problem=TRUNCATED_PROBLEM.kind, aborted_by="upstream"
            )
        await account.wait_for_sync()
        headers = make_headers(account, JSON_TYPE, billing)
        if response.is_unfinished:
            return Response(status=200, headers=[*headers, UNFINISHED_HEADER], body=data)
        return Response(status=200, headers=headers, body=data)

    async def from_cache(
        self,
        request: UpstreamRequest,
        cached: CachedResponse,
        answer_body: bytes,
        target: Target,
        account: RecordedAccount,
    ) -> Response:
        """Respond with a stored answer: `answer_body` is `cached` as the client asked for it."""
        await self._memory.save_cached(request, cached, answer_body)
        account.cache = "hit"
        account.losses = (*account.losses, *make_answer_losses(cached.dropped))
        account.usage, account.served_model, account.target = cached.usage, cached.served, target
        account.record_first_content(self._clock())
        if not request.body.prompt.stream:
            billing = account.settle_deferred("cache_hit")
            await account.wait_for_sync()
            headers = make_headers(account, JSON_TYPE, billing)
            return Response(status=200, headers=headers, body=answer_body)
        row = account.settle("cache_hit", 200)
        await account.wait_for_sync()
        if request.call.options.stream_cost and request.dialect.allows_comments:
            answer_body += make_cost_comment(row)
        headers = make_headers(account, STREAM_TYPE, row)
        return Response(status=200, headers=headers, body=answer_body)

    async def from_error(
        self, error: Exception, dialect: Dialect, account: RecordedAccount, *, has_started: bool
    ) -> Response:
        """Respond with a problem; `has_started` if the client has seen the head of a stream.

        If nobody can count tokens, the response is an estimate instead.
        """
        if (
            isinstance(error, ProblemError)
            and dialect.write_token_count is not None
            and is_uncounted(error.problem, dialect, account)
        ):
            return await self._estimate_tokens(dialect.write_token_count, account)
        return await respond_to_error(self._log, error, dialect, account, has_started=has_started)

    async def _estimate_tokens(
        self, encode_count: Callable[[int], bytes], account: RecordedAccount
    ) -> Response:
        """Respond with a count of tokens that no target gives, from the length of the prompt."""
        account.settle("estimated", 200)
        await account.wait_for_sync()
        headers = [*make_headers(account, JSON_TYPE), ESTIMATED_HEADER]
        return Response(status=200, headers=headers, body=encode_count(account.prompt_tokens))


async def respond_to_error(
    log: Log, error: Exception, dialect: Dialect, account: RecordedAccount, *, has_started: bool
) -> Response:
    """Settle a call with a problem, and respond with it in the dialect of the client."""
    problem = (
        error.problem
        if isinstance(error, ProblemError)
        else make_bug_problem(log, error, account.call.id)
    )
    if not account.is_closed:
        was_asked = account.attempts or account.cache == "hit"
        state: CallState = "failed" if was_asked else "refused"
        status = 200 if has_started else dialect.find_status(problem)
        account.settle(state, status, problem=problem.kind)
        await account.wait_for_sync()
    if problem.rate_limits is not None:
        account.rate_limits = problem.rate_limits
    headers = make_decision_headers(account)
    return make_problem_response(problem, dialect, account.call.id, headers)


def record_answer(response: UpstreamResponse, account: RecordedAccount) -> None:
    """Note what the request of an answer has lost, and the provider's id of it.

    Note also what a whole answer has lost; a stream may lose something until its end.
    """
    account.losses, account.upstream_id = response.written_body.losses, response.upstream_id
    if response.inspector is None and response.dropped_names:
        account.losses = (*account.losses, *make_answer_losses(response.dropped_names))


def record_usage(summary: ResponseSummary, account: RecordedAccount) -> None:
    """Note what a whole answer used, unless the provider still works on it."""
    account.usage, account.served_model = summary.usage, summary.served_model
    account.response_id, account.finish = summary.response_id, summary.finish
    if not summary.is_pending:
        account.content_bytes, account.is_complete = summary.content_bytes, True
