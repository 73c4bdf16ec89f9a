"""Relay streams: frames go to the client as they come, and the row follows them."""

from collections.abc import AsyncGenerator

from gateway.core.errors import Problem, ProblemError
from gateway.core.ledger_rows import CallState, FinalRow
from gateway.core.loss import make_answer_losses
from gateway.dialects import StreamInspector
from gateway.dialects.upstream_errors import add_sentence
from gateway.pipeline.accounting import RecordedAccount
from gateway.pipeline.coalescer import Coalescer, UpstreamSubscriber
from gateway.pipeline.conversation_memory import ConversationMemory
from gateway.pipeline.response import (
    STREAM_TYPE,
    Response,
    make_bug_problem,
    make_cost_comment,
    make_headers,
)
from gateway.telemetry.log import Log
from gateway.upstream import continuation
from gateway.upstream.relay import DirectRelay, get_inspector, iterate_frames, shows_problem
from gateway.upstream.upstream_request import UpstreamRequest, UpstreamResponse

_HINT = "With `x-tiergate-complete: on` another target finishes an answer that breaks off."
"""A sentence for the developer whose stream broke off."""


class StreamRelay:
    """Relays streams to clients. Each stream settles the account of its call after the last byte.

    From the response on, the stream owns the call's reservation and its place on a flight.
    """

    def __init__(self, coalescer: Coalescer, memory: ConversationMemory, log: Log) -> None:
        self._coalescer = coalescer
        self._memory = memory
        self._log = log

    def from_upstream(
        self,
        request: UpstreamRequest,
        response: UpstreamResponse,
        account: RecordedAccount,
        subscriber: UpstreamSubscriber | None,
        *,
        is_buffered: bool,
    ) -> Response:
        """Respond with the stream of a provider; `is_buffered` if all of it may have come."""
        inspector = get_inspector(response)
        if is_buffered:
            direct_relay = None
            source = continuation.iterate_buffered(response)
        else:
            direct_relay = self._make_direct_relay(request, response, inspector, subscriber)
            source = iterate_frames(response, inspector, direct_relay)
        if subscriber is not None:
            flight = subscriber.flight
            flight.begin(
                response,
                source,
                on_end=lambda: self._coalescer.finish(request, response, flight),
                close_source=response.provider_response.close,
                on_join=None if direct_relay is None else direct_relay.stop,
            )
            source = subscriber.read_frames()
        return self._respond(request, response, account, source, subscriber, direct_relay)

    def from_flight(
        self,
        request: UpstreamRequest,
        response: UpstreamResponse,
        account: RecordedAccount,
        subscriber: UpstreamSubscriber,
    ) -> Response:
        """Respond with the stream of an equal call."""
        return self._respond(request, response, account, subscriber.read_frames(), subscriber, None)

    def _respond(
        self,
        request: UpstreamRequest,
        response: UpstreamResponse,
        account: RecordedAccount,
        source: AsyncGenerator[bytes],
        subscriber: UpstreamSubscriber | None,
        direct_relay: DirectRelay | None,
    ) -> Response:
        stream = self._relay(request, response, account, source, subscriber)
        headers = make_headers(account, STREAM_TYPE)
        account.is_streaming = True
        return Response(status=200, headers=headers, stream=stream, direct_relay=direct_relay)

    def _make_direct_relay(
        self,
        request: UpstreamRequest,
        response: UpstreamResponse,
        inspector: StreamInspector,
        subscriber: UpstreamSubscriber | None,
    ) -> DirectRelay | None:
        """Make a shortcut for a stream that one client reads and nobody else, or return None."""
        if self._memory.make_listener(request, response, is_first=True) is not None:
            return None
        if subscriber is None:
            return DirectRelay(inspector)
        return (
            None if subscriber.other_count else DirectRelay(inspector, subscriber.note_passed_chunk)
        )

    async def _relay(
        self,
        request: UpstreamRequest,
        response: UpstreamResponse,
        account: RecordedAccount,
        source: AsyncGenerator[bytes],
        subscriber: UpstreamSubscriber | None,
    ) -> AsyncGenerator[bytes]:
        """Yield the frames as they came; an error if the stream breaks; the cost at its end."""
        dialect, ended_by = request.dialect, "client"
        problem: Problem | None = None
        row: FinalRow | None = None
        data = b""
        on_chunk = self._memory.make_listener(
            request, response, is_first=subscriber is None or subscriber.is_first
        )

        def settle() -> FinalRow:
            return _settle(response, account, ended_by, problem)

        try:
            try:
                async for data in source:
                    if on_chunk is not None:
                        await on_chunk(data)
                    yield data
                ended_by = ""
            except ProblemError as error:
                problem = error.problem
                is_timeout = (
                    problem.kind == "upstream_timeout" and get_inspector(response).problem is None
                )
                ended_by = "timeout" if is_timeout else "upstream"
                if not shows_problem(data, dialect, request.body):
                    is_broken_off = continuation.is_broken_off(problem)
                    shown_problem = add_sentence(problem, _HINT) if is_broken_off else problem
                    yield dialect.write_problem_frame(shown_problem)
            except Exception as error:  # noqa: BLE001 - the stream shows a bug too
                problem, ended_by = make_bug_problem(self._log, error, request.call.id), ""
                yield dialect.write_problem_frame(problem)
            row = settle() if subscriber is None else subscriber.close_account(settle)
            await account.wait_for_sync()
            if row is not None and request.call.options.stream_cost and dialect.allows_comments:
                yield make_cost_comment(row)
        finally:
            if not account.is_closed:
                is_all_sent = get_inspector(response).complete and not response.has_buffered_frames
                if (
                    ended_by == "client"
                    and is_all_sent
                    and (subscriber is None or subscriber.has_read_all)
                ):
                    ended_by = ""  # the client left with all of the answer
                _ = settle() if subscriber is None else subscriber.close_account(settle)
            if subscriber is not None:
                account.subscriber = None
                await subscriber.close()
            else:
                await response.provider_response.close()


def _settle(
    response: UpstreamResponse, account: RecordedAccount, ended_by: str, problem: Problem | None
) -> FinalRow:
    """Settle a stream with what its inspector has seen; `ended_by` is empty if it is complete."""
    inspector = get_inspector(response)
    account.usage, account.served_model = inspector.usage, inspector.served_model
    account.response_id, account.finish = inspector.response_id, inspector.finish
    account.content_bytes, account.is_complete = inspector.content_bytes, inspector.complete
    if response.dropped_names:
        account.losses = (*account.losses, *make_answer_losses(response.dropped_names))
    if ended_by == "client":
        return account.settle_aborted(200)
    if ended_by or problem is not None:
        kind = None if problem is None else problem.kind
        return account.settle("aborted", 200, problem=kind, aborted_by=ended_by or None)
    state: CallState = "cache_hit" if account.cache == "hit" else "settled"
    return account.settle(state, 200)
