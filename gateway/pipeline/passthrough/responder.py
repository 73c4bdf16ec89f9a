"""Respond with a provider's answer to a pass-through call: whole, as a list, or as it comes."""

import math
from collections.abc import AsyncGenerator, Callable, Sequence
from functools import partial
from typing import NoReturn
from urllib.parse import parse_qsl, urlencode

import msgspec

from gateway.core import json_size
from gateway.core.call_accounting import AttemptAccount
from gateway.core.errors import Problem, ProblemError
from gateway.core.jsonio import Json
from gateway.core.ledger_rows import FinalRow
from gateway.core.object_answers import (
    MadeObject,
    find_made_objects,
    find_result_objects,
    read_page,
)
from gateway.core.object_ids import is_shared
from gateway.core.owned_object import ObjectPlace, OwnedObject
from gateway.core.sse import FrameSplitter, split_data_frames
from gateway.core.target import Account, Catalogue, Timers
from gateway.core.usage import merge_usage
from gateway.dialects.passthrough_usage import read_usage
from gateway.pipeline.accounting import RecordedAccount
from gateway.pipeline.passthrough import answer
from gateway.pipeline.passthrough.jobs import JobKeeper, JobPlan, find_target
from gateway.pipeline.passthrough.objects import ObjectGuard
from gateway.pipeline.passthrough.request import (
    PassThroughFacts,
    PassThroughRequest,
    describe_made_object,
)
from gateway.pipeline.passthrough.urls import UrlRewriter
from gateway.pipeline.response import (
    Headers,
    Response,
    make_bug_problem,
    make_decision_headers,
    make_id_headers,
)
from gateway.routing import route_passthrough
from gateway.routing.route_passthrough import PassThroughChoice
from gateway.telemetry.log import Log
from gateway.upstream import credential_masking
from gateway.upstream.attempt import collect_body, read_upstream_id
from gateway.upstream.client import ProviderClient, ProviderResponse
from gateway.upstream.forwarded_request import ForwardedRequest
from gateway.upstream.large_work import LargeWork
from gateway.upstream.rate_limit_headers import read_retry_after

_MAX_ERROR_BYTES = 1_000_000
_MAX_EVENT_BYTES = 64_000_000
_MAX_JSON_BYTES = 128_000_000
"""Bytes of an answer that the gateway reads whole: images come as text within JSON."""
_MAX_LIST_BYTES = 16_000_000
"""Bytes of one page of a list: it is of small parts, which take the gateway longer to read."""
_CONFLICT = 409
_MAX_PAGES = 20
"""Pages of a list that the gateway reads in search of objects of the key."""
_CURSOR_BY_DIALECT = {
    "openai-chat": "after", "anthropic-messages": "after_id", "gemini": "pageToken",
}  # fmt: skip
"""The query that asks for the next page, by dialect."""
_BACKWARD_CURSORS = frozenset({"before", "before_id"})


class Exchange(msgspec.Struct, kw_only=True):
    """One request to a provider, with what the gateway must know once its answer comes."""

    request: PassThroughRequest
    forwarded: ForwardedRequest
    """The request as the provider gets it."""
    facts: PassThroughFacts
    choice: PassThroughChoice
    account: RecordedAccount
    named_objects: Sequence[OwnedObject]
    job: JobPlan | None
    """The job that the call creates."""
    provider_account: Account
    attempt: AttemptAccount
    timers: Timers
    deadline: float
    is_accepted: bool = False
    """True once the provider has answered that it does what was asked."""

    @property
    def place(self) -> ObjectPlace:
        """The provider account that serves the call."""
        return ObjectPlace(self.choice.endpoint.provider.name, self.provider_account.name)


class PassThroughResponder:
    """Turns answers of providers into responses, and settles the accounts of their calls."""

    def __init__(
        self,
        catalogue: Catalogue,
        client: ProviderClient,
        objects: ObjectGuard,
        urls: UrlRewriter,
        jobs: JobKeeper,
        log: Log,
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        """Take the clock of `Call.started_at` as `clock`; `wall` is seconds since the epoch."""
        self._catalogue = catalogue
        self._client = client
        self._objects = objects
        self._urls = urls
        self._jobs = jobs
        self._log = log
        self._clock = clock
        self._large_work = LargeWork()
        self._wall = wall

    async def respond(self, exchange: Exchange, response: ProviderResponse) -> Response:
        """Respond with the answer of a provider. Raises ProblemError if it is an error."""
        account = exchange.account
        account.upstream_id = read_upstream_id(response)
        if not 200 <= response.status < 300:
            await self._raise_refusal(exchange, response)
        account.attempt_finished(exchange.attempt)
        exchange.is_accepted = True
        headers = answer.select_headers(response.fields, response.secret)
        headers += await self._pass_upload_url(exchange, response)
        content_type = response.get_header(b"content-type") or ""
        endpoint = exchange.choice.endpoint.endpoint
        if answer.is_json(content_type) and endpoint.needs_answer:
            return await self._respond_whole(exchange, response, headers)
        if endpoint.lists:
            raise _make_unreadable_list_error(exchange)
        if endpoint.bills_answer:
            account.usage = read_usage(endpoint, account.call.dialect, exchange.facts.value, {})
        account.stream = answer.is_event_stream(content_type)
        if not account.stream and (length := response.get_header(b"content-length")) is not None:
            headers.append((b"content-length", length.encode("ascii")))
        account.record_first_content(self._clock())
        account.is_streaming = True
        return Response(
            status=response.status,
            headers=[*make_id_headers(account.call.id), *headers, *make_decision_headers(account)],
            stream=self._relay(exchange, response),
        )

    async def _raise_refusal(self, exchange: Exchange, response: ProviderResponse) -> NoReturn:
        """Raise the problem in a provider's error, without the credential that it may quote."""
        body = credential_masking.mask_body(
            response.secret,
            await collect_body(response, exchange.timers, exchange.deadline, _MAX_ERROR_BYTES),
        )
        retry_after = read_retry_after(response.fields, response.status, self._wall())
        problem = exchange.request.dialect.read_problem(response.status, body, retry_after)
        if response.status == _CONFLICT:  # the state of an object, no fault of the provider
            problem = Problem(
                kind="upstream_rejected",
                message="The provider refused the request with HTTP 409.",
                status=_CONFLICT,
                body=body,
                upstream_status=_CONFLICT,
            )
        raise ProblemError(problem)

    async def _respond_whole(
        self, exchange: Exchange, response: ProviderResponse, headers: Headers
    ) -> Response:
        """Read a JSON answer, remember the objects that it tells of, and respond with it."""
        account, endpoint = exchange.account, exchange.choice.endpoint.endpoint
        max_bytes = _MAX_LIST_BYTES if endpoint.lists else _MAX_JSON_BYTES
        body = await collect_body(response, exchange.timers, exchange.deadline, max_bytes)
        await response.close()
        value = {} if endpoint.lists else await self._large_work.read(answer.read_object, body)
        # From here on the cost is known, also if the client gets an error.
        if endpoint.bills_answer:
            account.usage = read_usage(endpoint, account.call.dialect, exchange.facts.value, value)
            await self._find_served_model(exchange, value)
        account.is_complete = True
        body = await self._apply_ownership(exchange, value, body)
        account.record_first_content(self._clock())
        row = account.settle("settled", response.status)
        await account.wait_for_sync()
        return Response(
            status=response.status,
            headers=[
                *make_id_headers(account.call.id),
                *headers,
                *make_decision_headers(account),
                *_make_cost_headers(row),
            ],
            body=body,
        )

    async def _find_served_model(self, exchange: Exchange, value: dict[str, Json]) -> None:
        """Price a call that names no model by the model that its answer names."""
        name, choice = value.get("model"), exchange.choice
        if choice.model or choice.endpoint.endpoint.model != "body" or not isinstance(name, str):
            return
        try:
            served = route_passthrough.find_model(
                self._catalogue, [choice.endpoint], name, choice.account
            )
        except ProblemError:
            return  # its price stays unknown
        exchange.account.target = await find_target(served)

    async def _keep_own_objects(self, exchange: Exchange, body: bytes) -> bytes:
        """Return a list without the objects of other keys. Raises ProblemError.

        Clients go on from the last object that they see. So while a page has none for the key, the
        gateway reads on itself.
        """
        endpoint, key = exchange.choice.endpoint, exchange.account.call.key
        cursor_name = _CURSOR_BY_DIALECT[endpoint.table.dialect]
        queries = dict(parse_qsl(exchange.request.query))
        pages_left = 1 if _BACKWARD_CURSORS & queries.keys() else _MAX_PAGES
        while True:
            page = await self._large_work.read(
                partial(read_page, list_member=endpoint.endpoint.list_member), body
            )
            if page is None:
                raise _make_unreadable_list_error(exchange)
            own_ids = await self._objects.keep_own(key, exchange.place, page)
            own_ids |= {id for id in page.ids if is_shared(endpoint.endpoint.lists, id)}
            pages_left -= 1
            if own_ids or not (page.has_more and page.next_cursor and pages_left):
                return page.keep(own_ids)
            queries[cursor_name] = page.next_cursor
            body = await self._fetch_page(exchange, urlencode(queries))

    async def _fetch_page(self, exchange: Exchange, query: str) -> bytes:
        """Return another page of a list. Raises ProblemError."""
        endpoint, timers = exchange.choice.endpoint, exchange.timers
        response = await self._client.forward(
            endpoint.provider,
            exchange.provider_account,
            ForwardedRequest(
                method="GET",
                url=endpoint.build_url(exchange.request.match.parameters, query),
                headers=exchange.request.call.headers,
            ),
            timers,
            deadline=exchange.deadline,
        )
        try:
            if response.status != 200:
                await self._raise_refusal(exchange, response)
            return await collect_body(response, timers, exchange.deadline, _MAX_LIST_BYTES)
        finally:
            await response.close()

    async def _pass_upload_url(self, exchange: Exchange, response: ProviderResponse) -> Headers:
        """Return the header with the URL for an upload's data, as one of the gateway.

        The upload belongs to the key. Raises ProblemError if the URL leads elsewhere.
        """
        endpoint, key = exchange.choice.endpoint, exchange.account.call.key
        name = endpoint.endpoint.upload_header.encode()
        url = response.get_header(name) if name else None
        if url is None:
            return []
        own_url, upload_id = self._urls.rewrite_upload(url, endpoint, exchange.request.origin, key)
        upload = MadeObject(id=upload_id, kind="upload")
        await self._objects.add(key, exchange.place, [upload], {})
        return [(name, own_url.encode("latin-1"))]

    async def _apply_ownership(
        self, exchange: Exchange, value: dict[str, Json], body: bytes
    ) -> bytes:
        """Remember the objects that an answer shows as new, and return the client's answer.

        A list keeps only the objects of the key. Raises ProblemError.
        """
        endpoint, key = exchange.choice.endpoint.endpoint, exchange.account.call.key
        made_objects = find_made_objects(endpoint.creates, value) if endpoint.creates else []
        items: list[Json] = [value]
        if endpoint.lists:
            body = await self._keep_own_objects(exchange, body)
            value = await self._large_work.read(answer.read_object, body)
            items = value.get(endpoint.list_member) or []
        for item in items if endpoint.makes else ():
            made_objects += find_result_objects(endpoint.makes, item)
        facts = describe_made_object(exchange.request)
        if exchange.job is not None:
            facts |= exchange.job.describe(exchange.account)
        self._jobs.watch(exchange.named_objects, value)
        await self._objects.add(key, exchange.place, made_objects, facts)
        if endpoint.deletes:
            await self._objects.remove(exchange.named_objects)
        if endpoint.url_members:
            body = self._urls.rewrite_members(
                body, value, exchange.choice.endpoint, exchange.request.origin
            )
        return body

    async def _relay(self, exchange: Exchange, response: ProviderResponse) -> AsyncGenerator[bytes]:
        """Yield the bytes of an answer as they come; then write the row of the call."""
        account, ended_by, problem = exchange.account, "client", None
        events = _EventReader(exchange) if account.stream else None
        # A file may take as long as both sides make progress.
        deadline = exchange.deadline if account.stream else math.inf
        try:
            try:
                async for data in response.read(exchange.timers.idle, deadline):
                    if events is None:
                        made_objects = []
                    else:
                        made_objects = await self._large_work.run(
                            partial(events.feed, data), is_large=events.is_slow(data)
                        )
                    if made_objects:
                        await self._objects.add(account.call.key, exchange.place, made_objects, {})
                    yield data
                ended_by = ""
                account.is_complete = True
            except ProblemError as error:
                problem, ended_by = error.problem, "upstream"
            except Exception as error:  # noqa: BLE001 - a bug ends the answer too
                problem = make_bug_problem(self._log, error, account.call.id)
                ended_by = ""
            _settle_stream(account, response.status, ended_by, problem)
            await account.wait_for_sync()
            if problem is not None:
                if account.stream:
                    yield exchange.request.dialect.write_problem_frame(problem)
                else:
                    raise ProblemError(problem)  # the client sees that the answer is not whole
        finally:
            if not account.is_closed:
                _settle_stream(account, response.status, ended_by, problem)
            await response.close()


class _EventReader:
    """Reads the usage in the events of a stream that passes, and the object that it makes."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._splitter = FrameSplitter()
        self._awaits_object = bool(exchange.choice.endpoint.endpoint.creates)

    def is_slow(self, data: bytes) -> bool:
        """True if these bytes may end an event that takes long to read."""
        return self._splitter.size + len(data) > json_size.LARGE_FRAME_BYTES

    def feed(self, data: bytes) -> list[MadeObject]:
        """Take the bytes of a read, and return the objects that its events show as new."""
        if self._splitter.size > _MAX_EVENT_BYTES:
            return []  # an event without an end: its bytes pass, unread
        frames = self._splitter.feed(data)
        exchange, account = self._exchange, self._exchange.account
        endpoint = exchange.choice.endpoint.endpoint
        if not self._awaits_object and b"usage" not in frames.lower():
            return []
        made_objects: list[MadeObject] = []
        for frame in split_data_frames(frames):
            value = answer.read_event(frame)
            if self._awaits_object:
                holder = value.get(endpoint.creates)
                made_objects = find_made_objects(
                    endpoint.creates, holder if isinstance(holder, dict) else value
                )
                self._awaits_object = not made_objects
            usage = read_usage(endpoint, account.call.dialect, exchange.facts.value, value)
            if usage is not None:
                account.usage = merge_usage(account.usage, usage)
        return made_objects


def _make_unreadable_list_error(exchange: Exchange) -> ProblemError:
    """Return the error for an answer in which the gateway cannot tell whose objects it lists."""
    message = f"{exchange.place.provider} sent no list that the gateway can read."
    return ProblemError(Problem(kind="upstream_error", message=message))


def _settle_stream(
    account: RecordedAccount, status: int, ended_by: str, problem: Problem | None
) -> FinalRow:
    """Settle an answer that was relayed; `ended_by` is empty if it is complete."""
    if ended_by == "client":
        return account.settle_aborted(status)
    if problem is not None:
        return account.settle("aborted", status, problem=problem.kind, aborted_by=ended_by or None)
    return account.settle("settled", status)


def _make_cost_headers(row: FinalRow) -> Headers:
    return [] if row.cost is None else [(b"x-tiergate-cost", f"{row.cost:f}".encode())]
