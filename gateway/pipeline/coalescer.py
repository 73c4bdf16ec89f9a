"""Let equal calls at the same time share one upstream call."""

from types import TracebackType

from gateway.cache.cached_response import CachedResponse
from gateway.cache.coalescing import Flight, Flights, Subscriber
from gateway.dialects import ResponseSummary
from gateway.pipeline.accounting import RecordedAccount
from gateway.pipeline.response_cache import ResponseCache
from gateway.upstream.upstream_request import UpstreamRequest, UpstreamResponse

type UpstreamSubscriber = Subscriber[UpstreamResponse]


class Subscription:
    """The place of a call on a flight.

    It ends with the block, or with the stream that has taken it over.
    """

    __slots__ = ("_account", "_coalescer", "_subscriber")

    def __init__(
        self, coalescer: "Coalescer", account: RecordedAccount, subscriber: UpstreamSubscriber
    ) -> None:
        self._coalescer = coalescer
        self._account = account
        self._subscriber = subscriber

    async def __aenter__(self) -> UpstreamSubscriber:
        self._account.subscriber = self._subscriber
        return self._subscriber

    async def __aexit__(
        self, _: object, error: BaseException | None, __: TracebackType | None
    ) -> None:
        account, subscriber = self._account, self._subscriber
        if error is not None and subscriber.is_first:
            self._coalescer.fail(subscriber.flight, error)
        if not account.is_streaming:
            account.subscriber = None
            await subscriber.close()


class Coalescer:
    """The flights of one engine, and the cache that takes their answers when they end."""

    def __init__(self, response_cache: ResponseCache) -> None:
        self._response_cache = response_cache
        self._flights: Flights[UpstreamResponse] = Flights()

    def join(self, account: RecordedAccount, key: str, form: str) -> Subscription | None:
        """Join the flight of an equal call; return None if there is none."""
        subscriber = self._flights.join(key, form)
        return None if subscriber is None else Subscription(self, account, subscriber)

    def start(self, account: RecordedAccount, key: str, form: str) -> Subscription:
        """Start a flight, which later equal calls can join until upstream has answered."""
        return Subscription(self, account, self._flights.start(key, form))

    def fail(self, flight: Flight[UpstreamResponse], error: BaseException) -> None:
        """End a flight whose upstream call gave no answer."""
        if flight.answer is None:
            self._flights.drop(flight)
            flight.fail(error)

    def land(
        self,
        request: UpstreamRequest,
        response: UpstreamResponse,
        summary: ResponseSummary,
        data: bytes,
        flight: Flight[UpstreamResponse],
    ) -> None:
        """Give a whole answer to all calls on a flight, unless it is incomplete."""
        if not summary.complete:
            flight.complete(response, None)
            self._flights.drop(flight)
            return
        outcome = summary.usage, summary.served_model, summary.finish
        cached = self._response_cache.make_cached(request, response, data, *outcome)
        flight.complete(response, cached)
        self._store(request, response, flight, cached)

    def finish(
        self, request: UpstreamRequest, response: UpstreamResponse, flight: Flight[UpstreamResponse]
    ) -> None:
        """End a streamed flight: store its answer, and close an account whose client left."""
        inspector, body = response.inspector, flight.body
        if (
            inspector is not None
            and inspector.complete
            and flight.failure is None
            and body is not None
        ):
            outcome = inspector.usage, inspector.served_model, inspector.finish
            cached = self._response_cache.make_cached(request, response, body, *outcome)
            flight.cached = cached
            self._store(request, response, flight, cached)
        else:
            self._flights.drop(flight)
        if flight.close_account is not None:
            flight.close_account()

    def _store(
        self,
        request: UpstreamRequest,
        response: UpstreamResponse,
        flight: Flight[UpstreamResponse],
        cached: CachedResponse,
    ) -> None:
        """Store an answer: from now on an equal call finds it in the cache."""
        self._response_cache.store(request, response, flight.key, cached)
        self._flights.drop(flight)
