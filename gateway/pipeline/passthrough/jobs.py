"""Jobs: batches and fine-tuning, which cost money after their creation has been answered.

The call that creates a job has the one row of it. The gateway reserves what the job may cost before
the provider hears of it, and writes that to the row as `reserved`, with no cost. The reservation
has an id of its own and holds until the job ends. Then a later row gives the cost, and the budgets
get back the rest. If the gateway is killed meanwhile, the job is still with its object in the
database, and counters that begin anew count what the row has reserved.

The gateway learns of the end from answers that pass, or by asking the provider. That several
gateways learn of it does no harm: they all write the same cost, and a reservation ends once.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from decimal import Decimal

import msgspec

from gateway.core.errors import Problem, ProblemError
from gateway.core.jsonio import Json
from gateway.core.ledger_rows import FinalRow, RepriceRow, Row
from gateway.core.owned_object import OwnedObject
from gateway.core.passthrough import (
    OBJECT_KINDS,
    PassThroughRoutes,
    ProviderEndpoint,
)
from gateway.core.price import compute_cost
from gateway.core.target import Target
from gateway.dialects import DIALECTS
from gateway.dialects.job_requests import bound_training, read_batch
from gateway.dialects.job_results import (
    ResultReader,
    UsageByModel,
    has_ended,
    may_have_worked,
    read_job_usage,
)
from gateway.limits.batch_bound import compute_batch_cost
from gateway.limits.cost_bounds import make_ended_call, to_micro_usd
from gateway.limits.limiter import Limiter
from gateway.limits.passthrough_bound import PassThroughBound
from gateway.pipeline.accounting import RecordedAccount
from gateway.pipeline.passthrough.answer import read_object
from gateway.routing import route_passthrough
from gateway.routing.features import Features
from gateway.routing.route_passthrough import PassThroughChoice
from gateway.routing.router import Router
from gateway.state.object_owners import ObjectOwners
from gateway.telemetry.log import Log, locate_error
from gateway.upstream.attempt import collect_body
from gateway.upstream.client import ProviderClient
from gateway.upstream.forwarded_request import ForwardedRequest

JOB_SECONDS = 7 * 86_400.0
"""Seconds for which a reservation holds; after that the job is charged with what it reserved. The
longest that providers let a batch wait (Mistral's `timeout_hours`)."""
_ID_SUFFIX = ".job"
"""The suffix that makes the id of a reservation from that of the call."""
_RETRIEVE_BY_KIND = {"batch": "batches.retrieve", "fine_tuning_job": "fine_tuning.retrieve"}
"""The endpoint that tells about a job, by its kind."""
_MAX_JOBS_PER_POLL = 500
_STOP_SECONDS = 2.0
"""Seconds for which a gateway that stops waits for the work on jobs: another takes it up."""
_MAX_JOB_BYTES = 64_000_000
_RESULT_MEMBERS = frozenset(
    {
        "output_file_id", "output_file", "response.responsesFile", "metadata.output.responsesFile",
    }
)  # fmt: skip
"""Members of a job with the file of its answers, not that of its errors."""
_BATCH_TIER = "batch"
"""The service tier that Anthropic names in the answers of a batch."""
_ZERO, _ONE = Decimal(0), Decimal(1)


class JobPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A job that a call is about to create."""

    id: str
    """The id of its reservation."""
    models: tuple[str, ...]
    bound: Decimal | None
    """The most USD that it costs; None if nothing bounds them."""
    target: Target
    """The target of its only model; else its provider."""

    def describe(self, account: RecordedAccount) -> dict[str, Json]:
        """Return what the gateway keeps with the job's object, until the job ends."""
        call = account.call
        job = {
            "state": "open",
            "call": call.id,
            "at": call.received_at,
            "models": list(self.models),
            "reserved": None if self.bound is None else str(self.bound),
        }
        return {"job": job}


class JobKeeper:
    """Reserves what jobs may cost, and writes their cost when they end."""

    def __init__(
        self,
        *,
        router: Router,
        routes: PassThroughRoutes,
        client: ProviderClient,
        owners: ObjectOwners,
        limiter: Limiter,
        record: Callable[[Row], None],
        log: Log,
        wall: Callable[[], float],
    ) -> None:
        """`record` writes a row; `wall` returns seconds since the epoch."""
        self._router = router
        self._routes = routes
        self._client = client
        self._owners = owners
        self._limiter = limiter
        self._record = record
        self._log = log
        self._wall = wall
        self._ending: dict[str, asyncio.Task[None]] = {}
        """The tasks that end jobs, by the calls that began them."""

    async def plan(
        self,
        account: RecordedAccount,
        features: Features,
        choice: PassThroughChoice,
        value: Mapping[str, Json],
        objects: Sequence[OwnedObject],
        *,
        knows_all: bool,
    ) -> JobPlan:
        """Plan a job; `value` is its request, and `objects` those that it names.

        `knows_all` is True if it names no others.

        Raises ProblemError if the key may not use one of its models.
        """
        id = account.call.id + _ID_SUFFIX
        target = await find_target(choice)
        if choice.endpoint.endpoint.creates != "batch":
            bound = bound_training(target, value, objects)
            return JobPlan(id=id, models=(choice.model,), bound=bound, target=target)
        # It may have 100,000 requests.
        facts_by_model = await asyncio.to_thread(read_batch, value, objects)
        if not (facts_by_model and knows_all):  # nobody knows all of its models
            route_passthrough.decide(self._router.rules, features, choice, target)
        targets = {
            name: target if not name else await self._find_model(features, choice, name)
            for name in facts_by_model
        }
        embeds = "embed" in f"{value.get('endpoint')} {choice.endpoint.endpoint.name}"
        bound = compute_batch_cost(
            facts_by_model, targets, account.call.received_at, has_answers=not embeds
        )
        models = tuple(name or choice.model for name in facts_by_model)
        if len(targets) == 1:
            target = next(iter(targets.values()))
        return JobPlan(
            id=id,
            models=models,
            bound=bound if facts_by_model and knows_all else None,
            target=target,
        )

    async def _find_model(self, features: Features, choice: PassThroughChoice, name: str) -> Target:
        """Return the target of a model in a batch.

        Raises ProblemError if the key may not use it.
        """
        prompt = msgspec.structs.replace(features.prompt, model=name)
        call = Features(prompt, features.dialect, features.key, features.options)
        model_choice = route_passthrough.find_model(
            self._router.catalogue, [choice.endpoint], name, choice.account
        )
        target = await find_target(model_choice)
        route_passthrough.decide(self._router.rules, call, model_choice, target)
        return target

    async def reserve(self, account: RecordedAccount, features: Features, job: JobPlan) -> None:
        """Reserve what a job costs at most. Raises ProblemError if a budget has no room for it."""
        call, decision = account.call, account.decision
        if job.bound is None or decision is None or not self._limiter.applies_to(call.key):
            return
        bound = PassThroughBound(
            call=msgspec.structs.replace(call, id=job.id, lifetime=JOB_SECONDS),
            prompt=features.prompt,
            prompt_tokens=0,
            prompt_bound=None,
            end_user=account.end_user,
            billing="job",
            job_micro_usd=to_micro_usd(job.bound),
        )
        await self._limiter.extend(bound, decision, job.target)

    def release(self, account: RecordedAccount, job: JobPlan) -> None:
        """Give back what a job reserved that the provider has not begun."""
        key = account.call.key
        self._limiter.settle(self._make_row(key.tenant, key.name, job.id, _ZERO))

    def watch(self, objects: Iterable[OwnedObject], value: Mapping[str, Json]) -> None:
        """Note an answer of a provider about a job: if it has ended, its cost is written soon."""
        if not has_ended(value):
            return
        for item in objects:
            if _is_open(item) and item.id in (value.get("id"), value.get("name")):
                self._start_end(item, value)

    async def poll(self) -> None:
        """Ask providers about all open jobs, and write the cost of those that have ended."""
        try:
            jobs = await self._owners.list_with_open_jobs(_MAX_JOBS_PER_POLL)
        except ProblemError:
            return  # it is logged, and the next look comes
        for item in jobs:
            if _is_open(item):
                await self._look_safely(item)
        await self.drain()

    async def finish(self, objects: Iterable[OwnedObject]) -> None:
        """Write the cost of those objects that are jobs and have ended, before they are deleted."""
        for item in objects:
            if not _is_open(item):
                continue
            await self._look_safely(item)
            if (task := self._ending.get(item.facts["job"]["call"])) is not None:
                await asyncio.wait([task])

    async def drain(self) -> None:
        """Wait until the cost of all jobs that are known to have ended is written."""
        while self._ending:
            await asyncio.wait(self._ending.values())

    async def stop(self) -> None:
        """Wait a little for the work on jobs, then end it: the next look begins it anew."""
        if not self._ending:
            return
        _, tasks = await asyncio.wait(self._ending.values(), timeout=_STOP_SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _look_safely(self, item: OwnedObject) -> None:
        """Ask a provider about one job; log what fails."""
        try:
            await self._look(item)
        except ProblemError as error:
            self._log("objects", text=f"no answer about a job: {error.problem.kind}")
        except Exception as error:  # noqa: BLE001 - the other jobs are looked at
            self._log("bug", error=locate_error(error))

    async def _look(self, item: OwnedObject) -> None:
        """Ask a provider about one job. Raises ProblemError."""
        try:
            value = await self._retrieve(item)
        except ProblemError:
            if not self._is_late(item):
                raise
            value = {}
        if has_ended(value):
            self._start_end(item, value)
        elif self._is_late(item):
            text = f"the {item.kind} {item.id} has not ended: what it reserved stays charged"
            self._log("objects", text=text)
            await self._close(item)

    def _is_late(self, item: OwnedObject) -> bool:
        """Return True if a job is so old that its reservation no longer holds."""
        age: float = self._wall() - item.facts["job"]["at"]
        return age > JOB_SECONDS

    def _start_end(self, item: OwnedObject, value: Mapping[str, Json]) -> None:
        call = item.facts["job"]["call"]
        if call not in self._ending:
            task = self._ending[call] = asyncio.create_task(self._end(item, value))
            task.add_done_callback(lambda _: self._ending.pop(call))

    async def _end(self, item: OwnedObject, value: Mapping[str, Json]) -> None:
        """Write what an ended job cost, and give back the rest of its reservation. Never raises."""
        job = item.facts["job"]
        try:
            try:
                usage = await self._read_usage(item, value)
            except ProblemError:
                if not self._is_late(item):
                    raise
                usage = None
            cost, version = await self._price(item, usage)
            if cost is None:
                text = f"the cost of the {item.kind} {item.id} is unknown: its row keeps `reserved`"
                self._log("objects", text=text)
            else:
                row = RepriceRow(
                    id=job["call"], at=self._wall(), cost=cost, baseline=cost, price=version
                )
                self._record(row)
            await self._settle(item.tenant, item.key, job["call"] + _ID_SUFFIX, cost)
            await self._close(item)
        except ProblemError as error:  # the next look tries again
            self._log("objects", text=f"the results of a job cannot be read: {error.problem.kind}")
        except Exception as error:  # noqa: BLE001 - nobody awaits the task
            self._log("bug", error=locate_error(error))

    async def _read_usage(
        self, item: OwnedObject, value: Mapping[str, Json]
    ) -> UsageByModel | None:
        """Return what a job used, by its own word or by the file of its results."""
        models = item.facts["job"]["models"]
        model = models[0] if len(models) == 1 else ""
        if len(models) == 1 or item.kind != "batch":
            usage = read_job_usage(value, model)
            if usage is not None:
                return usage
        endpoint, id = self._find_results(item, value) if item.kind == "batch" else (None, "")
        if endpoint is None:
            return None if id or may_have_worked(item.kind, value) else {}
        reader = ResultReader(model)
        async with aclosing(self._stream(endpoint, item, id)) as pieces:
            async for data in pieces:
                reader.feed(data)
        return reader.finish()

    def _find_results(
        self, item: OwnedObject, value: Mapping[str, Json]
    ) -> tuple[ProviderEndpoint | None, str]:
        """Return the endpoint of the results, and the id in its path; an empty id if none exist."""
        results = self._routes.find(item.provider, "batches.results")
        if results is not None:  # Anthropic
            return (results, item.id) if value.get("results_url") else (None, "")
        for member in _RESULT_MEMBERS:
            held: Json = value
            for name in member.split("."):
                held = held.get(name) if isinstance(held, dict) else None
            if isinstance(held, str) and held:
                return self._routes.find(item.provider, "files.content"), held
        return None, ""

    async def _price(
        self, item: OwnedObject, usage: UsageByModel | None
    ) -> tuple[Decimal | None, str | None]:
        """Return the USD of what a job used, and the version of the price; None if unknown."""
        if usage is None:
            return None, None
        job, total, version = item.facts["job"], _ZERO, None
        for name, counts in usage.items():
            target = await self._find_priced(item, name, job["models"])
            if target is None or target.price is None:
                return None, None
            price = target.price.find_in_force(job["at"])
            factor = target.provider.batch_price if item.kind == "batch" else _ONE
            if counts.service == _BATCH_TIER:  # the factor is its price
                counts = msgspec.structs.replace(counts, service=None)  # noqa: PLW2901
            cost = compute_cost(counts, price)
            if cost is None or factor is None:
                return None, None
            total, version = total + cost * factor, price.version
        return total, version

    async def _find_priced(
        self, item: OwnedObject, name: str, models: Sequence[str]
    ) -> Target | None:
        """Return the target of a model that has answered; else that of the only model asked for."""
        endpoint = self._routes.find(item.provider, _RETRIEVE_BY_KIND[item.kind])
        if endpoint is None:
            return None
        for candidate in [name, *models] if len(models) == 1 else [name]:
            try:
                choice = route_passthrough.find_model(
                    self._router.catalogue, [endpoint], candidate, None
                )
            except ProblemError:
                continue
            target = await find_target(choice)
            if target.price is not None:
                return target
        return None

    async def _settle(self, tenant: str, key: str, id: str, cost: Decimal | None) -> None:
        """End a reservation; without a cost it stays charged."""
        row = self._make_row(tenant, key, id, cost)
        self._limiter.settle(row)  # in this process, which may have granted it
        await self._limiter.settle_dead(tenant, [make_ended_call(row)])

    def _make_row(self, tenant: str, key: str, id: str, cost: Decimal | None) -> FinalRow:
        """Return the row of a job alone, which ends its reservation and is never written."""
        return FinalRow(
            id=id,
            at=self._wall(),
            key=key,
            tenant=tenant,
            dialect="",
            state="settled",
            attempts=1,
            input=0,
            output=0,
            cost=cost,
            wasted=_ZERO,
            config="",
        )

    async def _close(self, item: OwnedObject) -> None:
        """Note that a job has ended. Raises ProblemError."""
        facts = {**item.facts, "job": {**item.facts["job"], "state": "ended"}}
        await self._owners.change_facts(item, facts)

    async def _retrieve(self, item: OwnedObject) -> dict[str, Json]:
        """Return what a provider says of a job; nothing if it is not asked. Raises ProblemError."""
        endpoint = self._routes.find(item.provider, _RETRIEVE_BY_KIND[item.kind])
        if endpoint is None:
            return {}
        pieces, size = [], 0
        async with aclosing(self._stream(endpoint, item, item.id)) as stream:
            async for piece in stream:
                pieces.append(piece)
                size += len(piece)
                if size > _MAX_JOB_BYTES:
                    message = "The provider's answer about a job is too large."
                    raise ProblemError(Problem(kind="upstream_error", message=message))
        return read_object(b"".join(pieces))

    async def _stream(
        self, endpoint: ProviderEndpoint, item: OwnedObject, id: str
    ) -> AsyncGenerator[bytes]:
        """Yield the answer of an endpoint about an object. Raises ProblemError."""
        provider = endpoint.provider
        account = next((one for one in provider.accounts if one.name == item.account), None)
        if account is None:
            message = "The account of the job is no longer configured."
            raise ProblemError(Problem(kind="not_found", message=message))
        names = [name for name in endpoint.endpoint.placeholders if name in OBJECT_KINDS]
        is_download = endpoint.endpoint.path.endswith(":download")  # Gemini
        timers = provider.timers["reasoning"]
        deadline = asyncio.get_running_loop().time() + timers.total
        response = await self._client.forward(
            provider,
            account,
            ForwardedRequest(
                method="GET",
                url=endpoint.build_url(
                    {names[-1]: id.rpartition("/")[2]}, "alt=media" if is_download else ""
                ),
                headers=DIALECTS[endpoint.table.dialect].default_headers,
            ),
            timers,
            deadline=deadline,
        )
        try:
            if response.status != 200:
                body = await collect_body(response, timers, deadline, _MAX_JOB_BYTES)
                raise ProblemError(
                    DIALECTS[endpoint.table.dialect].read_problem(response.status, body, None)
                )
            async for data in response.read(timers.idle, deadline):
                yield data
        finally:
            await response.close()


async def find_target(choice: PassThroughChoice) -> Target:
    """Return the target of a call: its model at its provider, or the provider alone."""
    if choice.target is not None:
        return choice.target
    if choice.targets is not None:
        if choice.model in choice.targets:
            return choice.targets[choice.model]
        return await asyncio.to_thread(choice.targets.__getitem__, choice.model)
    return Target(provider=choice.endpoint.provider, model=choice.model, is_listed=False)


def _is_open(item: OwnedObject) -> bool:
    job = item.facts.get("job")
    return isinstance(job, dict) and job.get("state") == "open"
