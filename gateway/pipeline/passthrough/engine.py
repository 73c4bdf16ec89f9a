"""Serve one pass-through call: its objects, its provider, its reservation, its one attempt.

The gateway sends such a request once and never retries it: a provider may have worked on it. The
client's SDK retries by its own rule. Only a request that never reached a replica goes to the next.
"""

import asyncio
import itertools
import math
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import NoReturn
from urllib.parse import parse_qs

import msgspec

from gateway.core import json_size, jsonio
from gateway.core.call import Call
from gateway.core.decision import Decision, Plan
from gateway.core.errors import ClientGone, Problem, ProblemError
from gateway.core.object_ids import find_item_references, find_objects, may_name_objects
from gateway.core.owned_object import OwnedObject
from gateway.core.target import Account, Provider, Target, Tier, name_timers
from gateway.dialects.passthrough_usage import list_unit_bounds
from gateway.limits.limiter import Limiter
from gateway.limits.passthrough_bound import PassThroughBound
from gateway.pipeline.accounting import CallRecorder, RecordedAccount
from gateway.pipeline.end_users import EndUserHasher
from gateway.pipeline.passthrough.jobs import JobKeeper, JobPlan, find_target
from gateway.pipeline.passthrough.objects import ObjectGuard, find_place
from gateway.pipeline.passthrough.request import (
    API_BY_DIALECT,
    PassThroughFacts,
    PassThroughRequest,
    read_facts,
    write_body,
)
from gateway.pipeline.passthrough.responder import Exchange, PassThroughResponder
from gateway.pipeline.passthrough.urls import UPLOAD_ID
from gateway.pipeline.response import Response
from gateway.pipeline.response_builder import respond_to_error
from gateway.routing import refusals, route_passthrough
from gateway.routing.features import Features
from gateway.routing.route_passthrough import PassThroughChoice
from gateway.routing.router import Router
from gateway.telemetry.log import Log
from gateway.upstream.client import ProviderClient, ProviderResponse
from gateway.upstream.forwarded_request import ForwardedRequest
from gateway.upstream.large_work import LargeWork


class PassThroughEngine:
    """Serves pass-through calls of one configuration."""

    def __init__(  # noqa: PLR0913 - its parts
        self,
        *,
        router: Router,
        client: ProviderClient,
        recorder: CallRecorder,
        objects: ObjectGuard,
        responder: PassThroughResponder,
        jobs: JobKeeper,
        limiter: Limiter,
        end_user_hasher: EndUserHasher,
        wait_until_ready: Callable[[Provider], Awaitable[None]],
        log: Log,
    ) -> None:
        self._router = router
        self._client = client
        self._recorder = recorder
        self._objects = objects
        self._responder = responder
        self.jobs = jobs
        """The jobs that calls begin."""
        self._limiter = limiter
        self._end_user_hasher = end_user_hasher
        self._wait_until_ready = wait_until_ready
        self._log = log
        self._large_work = LargeWork()
        self._turns = itertools.count()

    async def serve(self, request: PassThroughRequest) -> Response:
        """Answer a call; every call leaves one final row.

        Raises CancelledError, and ClientGone if the client leaves during its upload.
        """
        account = self._recorder.open(request.call, self._router.catalogue.version)
        account.operation = request.call.operation
        try:
            response = await self._handle(request, account)
        except (asyncio.CancelledError, ClientGone):
            if not account.is_closed:
                account.settle_aborted(503)
            raise
        except Exception as error:  # noqa: BLE001 - a bug is answered too
            response = await respond_to_error(
                self._log, error, request.dialect, account, has_started=False
            )
        if request.has_unread_body:
            response.add_connection_close()
        return response

    def abort(self, call: Call, cancel: Callable[[], object], ended_by: str = "client") -> None:
        """End a call: `cancel` its task; `ended_by` says who ends it, for its row."""
        account = self._recorder.find_open(call)
        if account is not None and ended_by != "client":
            account.aborted_by = ended_by
        cancel()

    async def _handle(self, request: PassThroughRequest, account: RecordedAccount) -> Response:
        call, is_large = request.call, json_size.is_large(request.body or b"")
        facts = await self._large_work.run(partial(read_facts, request), is_large=is_large)
        user = call.end_user or facts.user or call.default_end_user
        if user:
            key = call.key
            account.end_user = self._end_user_hasher.hash_id(key.tenant, key.name, user)
        account.record_prompt(facts.prompt, 0, None)
        account.requested_model = facts.prompt.model or None
        features = Features(facts.prompt, call.dialect, call.key, call.options, None, call.hints)
        ids = await self._large_work.run(
            partial(list_object_ids, request, facts), is_large=is_large
        )
        named_objects = await self._objects.find(call.key, ids)
        knows_all = len({item.id for item in named_objects}) == len(ids)
        if request.match.candidates[0].endpoint.creates == "batch":
            named_objects += await self._objects.find_in_batch_files(call.key, named_objects)
        place = find_place(named_objects)
        choice = route_passthrough.choose(self._router.catalogue, request.match, features, place)
        target, job = await find_target(choice), None
        endpoint = choice.endpoint.endpoint
        decision = route_passthrough.decide(
            self._router.rules,
            features,
            choice,
            target,
            checks_model=endpoint.creates != "batch",
            checks_tier=not request.is_operators_choice,
        )
        self._recorder.note_decision(account, decision)
        if endpoint.billing == "job":
            job = await self.jobs.plan(
                account, features, choice, facts.value, named_objects, knows_all=knows_all
            )
            target, account.reserved_for_job = job.target, job.bound
        account.is_unbilled = endpoint.billing == "free"
        if target.price is None or target.price.units:
            account.unit_bounds = list_unit_bounds(endpoint, facts.value)
        if endpoint.deletes:
            await self.jobs.finish(named_objects)
        await self._reserve(account, request, facts, choice, target, decision)
        try:
            if job is not None:
                await self.jobs.reserve(account, features, job)
            exchange = await self._begin(
                request, facts, choice, target, account, named_objects, job
            )
        except BaseException:
            if job is not None:
                self.jobs.release(account, job)
            raise
        return await self._exchange(exchange, target)

    async def _reserve(
        self,
        account: RecordedAccount,
        request: PassThroughRequest,
        facts: PassThroughFacts,
        choice: PassThroughChoice,
        target: Target,
        decision: Decision,
    ) -> None:
        """Reserve what the call may cost. Raises ProblemError if a limit or budget refuses it."""
        if not self._limiter.applies_to(account.call.key):
            return
        endpoint, bounds, prompt = choice.endpoint.endpoint, request.token_bounds, facts.prompt
        if bounds is not None:
            prompt = msgspec.structs.replace(prompt, max_output=bounds.answer)
        bound = PassThroughBound(
            call=account.call,
            prompt=prompt,
            prompt_tokens=0,
            prompt_bound=None if bounds is None else bounds.prompt,
            end_user=account.end_user,
            units=account.unit_bounds,
            # A job that has a bound gets a reservation of its own.
            billing="free" if account.reserved_for_job is not None else endpoint.billing,
        )
        plan = Plan(targets=(target,), dialects=(account.call.dialect,))
        account.reservation = await self._limiter.reserve(bound, decision, plan, _decide_again)
        account.rate_limits = account.reservation.rate_limits

    async def _begin(
        self,
        request: PassThroughRequest,
        facts: PassThroughFacts,
        choice: PassThroughChoice,
        target: Target,
        account: RecordedAccount,
        named_objects: Sequence[OwnedObject],
        job: JobPlan | None,
    ) -> Exchange:
        """Prepare the request, and note that it is sent. Raises ProblemError."""
        provider = choice.endpoint.provider
        provider_account = self._find_account(provider, choice.account)
        if provider.command:
            await self._wait_until_ready(provider)
        parameters = dict(request.match.parameters)
        if choice.endpoint.endpoint.model == "path":
            parameters["model"] = choice.model
        headers = dict(request.call.headers)
        if request.content_type:
            headers["content-type"] = request.content_type
        body = write_body(request, facts, choice.model)
        forwarded = ForwardedRequest(
            method=choice.endpoint.endpoint.method,
            url=choice.endpoint.build_url(parameters, request.query),
            headers=headers,
            body=body,
            length=None if request.upload is None else request.upload.length,
        )
        timers = provider.timers[name_timers(choice.tier, "generate")]
        return Exchange(
            request=request,
            forwarded=forwarded,
            facts=facts,
            choice=choice,
            account=account,
            named_objects=named_objects,
            job=job,
            provider_account=provider_account,
            attempt=await account.attempt_started(target, provider_account),
            timers=timers,
            deadline=asyncio.get_running_loop().time() + timers.total,
        )

    async def _exchange(self, exchange: Exchange, target: Target) -> Response:
        """Send the request, and respond with the answer. Raises ProblemError."""
        account, timers, upload = exchange.account, exchange.timers, exchange.request.upload
        try:
            response = await self._forward(exchange, target)
            if upload is not None:
                exchange.deadline = asyncio.get_running_loop().time() + timers.total
            try:
                return await self._responder.respond(exchange, response)
            except BaseException:
                await response.close()
                raise
        except ProblemError as error:
            if not exchange.is_accepted:
                account.attempt_failed(exchange.attempt, error.problem)
                if exchange.job is not None and error.problem.spent == "no":
                    self.jobs.release(account, exchange.job)
            raise

    async def _forward(self, exchange: Exchange, target: Target) -> ProviderResponse:
        """Send the request; to the next replica if one cannot be reached. Raises ProblemError."""
        account, upload = exchange.account, exchange.request.upload

        async def record_resend(problem: Problem) -> None:
            account.attempt_failed(exchange.attempt, problem)
            exchange.attempt = await account.attempt_started(target, exchange.provider_account)

        replicas = self._list_other_replicas(exchange)
        while True:
            try:
                return await self._client.forward(
                    exchange.choice.endpoint.provider,
                    exchange.provider_account,
                    exchange.forwarded,
                    exchange.timers,
                    # An upload may take as long as it makes progress; then its answer has its own
                    # time.
                    deadline=exchange.deadline if upload is None else math.inf,
                    on_resend=record_resend,
                )
            except ProblemError as error:
                problem = error.problem
            was_unreachable = problem.kind in ("upstream_unreachable", "upstream_timeout")
            if not was_unreachable or problem.spent != "no" or not replicas:
                raise ProblemError(problem)
            exchange.provider_account = replicas.pop(0)
            await record_resend(problem)

    def _find_account(self, provider: Provider, name: str | None) -> Account:
        """Return an account of a provider; of replicas, each in its turn if none is named.

        Raises ProblemError if the account has gone.
        """
        accounts = provider.accounts
        if name is None and accounts[0].base_url:
            return accounts[next(self._turns) % len(accounts)]
        for account in accounts:
            if name in (None, account.name):
                return account
        message = (
            "The provider account that has the objects of this request is no longer configured."
        )
        raise ProblemError(Problem(kind="not_found", message=message))

    @staticmethod
    def _list_other_replicas(exchange: Exchange) -> list[Account]:
        """Return the replicas that may take a request over, in turn."""
        accounts, first = exchange.choice.endpoint.provider.accounts, exchange.provider_account
        is_bound = exchange.choice.account is not None or not exchange.forwarded.is_repeatable
        if is_bound or not first.base_url:
            return []
        index = accounts.index(first)
        return [*accounts[index + 1 :], *accounts[:index]]


def _decide_again(ceiling: Tier) -> NoReturn:
    """Refuse to go to a cheaper tier: the client has named what it wants."""
    raise refusals.not_allowed("this endpoint", f"a budget allows at most {ceiling}")


def list_object_ids(request: PassThroughRequest, facts: PassThroughFacts) -> list[str]:
    """Return the ids of the objects that a request names in its path and body, each once.

    Raises ProblemError if a body could name others than it seems to.
    """
    first, body = request.match.candidates[0], request.body
    ids = first.list_object_ids(request.match.parameters)
    if first.endpoint.upload_header:
        ids += parse_qs(request.query).get(UPLOAD_ID, [])
    api = API_BY_DIALECT[first.table.dialect]
    if request.form is not None:
        body = jsonio.dumps(facts.value)
    if facts.value and body and may_name_objects(api, body):
        ids += [item.id for item in find_objects(api, body, facts.value)]
    if api == "openai":
        ids += find_item_references(facts.value)
    return list(dict.fromkeys(ids))
