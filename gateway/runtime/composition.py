"""The composition root: builds a running gateway from a configuration.

It is the only place that chooses the gateway's parts.
"""

import asyncio
import random
import secrets
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property, partial
from importlib import metadata

from gateway.cache.reasoning_note_store import ReasoningNoteStore
from gateway.cache.response_store import SavedResponses
from gateway.cache.session_store import LocalSessionStore, SessionStore, SharedSessionStore
from gateway.core.clocks import SYSTEM_CLOCKS, Clocks
from gateway.core.ledger_rows import FinalRow
from gateway.core.target import Provider
from gateway.ledger.errors import SinkError
from gateway.ledger.journal import list_segments
from gateway.ledger.recovery import Recovered
from gateway.ledger.redaction_patterns import compile_redactor
from gateway.limits.counter_epochs import claim_first_epoch
from gateway.limits.counters import CounterStore
from gateway.limits.key_file import KeyFile
from gateway.limits.key_loading import load_key_table, open_key_store
from gateway.limits.key_store.store import KeyDatabase
from gateway.limits.keys import DatabaseSecrets, KeyTable
from gateway.limits.limiter import Limiter
from gateway.limits.load_shedding import LoadSample, LoadShedder
from gateway.limits.memory import MemoryCounters
from gateway.limits.redis import RedisCounters
from gateway.limits.tier_share import RedisTurnPool, TurnCounter
from gateway.pipeline.accounting import CallRecorder
from gateway.pipeline.answer_objects import AnswerObjects
from gateway.pipeline.context import ContextLoader
from gateway.pipeline.conversation_memory import ConversationMemory
from gateway.pipeline.end_users import HASH_KEY_LABEL, EndUserHasher
from gateway.pipeline.engine import Engine
from gateway.pipeline.ledger_runtime import LedgerRuntime
from gateway.pipeline.limit_enforcement import LimitRuntime
from gateway.pipeline.passthrough.objects import ObjectGuard
from gateway.routing.tier_share import ShareBounds
from gateway.runtime import query_process, realtime
from gateway.runtime.build import (
    BuiltConfig,
    adopt_classifiers,
    build_config,
    find_refusals,
)
from gateway.runtime.decision_models import DecisionModels
from gateway.runtime.local_engines import list_local_engines, make_local_engines
from gateway.runtime.own_traffic import OwnTrafficReader
from gateway.runtime.passthrough import PassThroughParts
from gateway.runtime.query_pool import QueryPool
from gateway.runtime.reloader import ConfigWatcher, Reloader
from gateway.runtime.response_caching import ResponseCaching
from gateway.runtime.revision import Revision, is_same_provider
from gateway.runtime.shadow import Shadow
from gateway.runtime.tenant_classifiers import TenantClassifiers
from gateway.settings import baseline
from gateway.settings.data_folder import SQLITE_SCHEME, find_data_folder, resolve_store_url
from gateway.settings.errors import ConfigError
from gateway.settings.loader import ConfigSource, load
from gateway.settings.schema.root import MediaPart, ResponsesPart
from gateway.state import StateStore, secret
from gateway.state.audit import AuditLog, AuditRow
from gateway.state.ended_sessions import EndedSessions
from gateway.state.memory import MemoryStore
from gateway.state.redis.store import RedisStore
from gateway.telemetry import process
from gateway.telemetry.log import Log, locate_error
from gateway.telemetry.metrics import CounterMetric, GaugeMetric
from gateway.telemetry.shared_metrics import SharedMemory
from gateway.telemetry.tracing import TraceError
from gateway.upstream import media_fetch
from gateway.upstream.client import ProviderClient
from gateway.upstream.connection_pools import ConnectionPools, Transports
from gateway.upstream.credentials.cloud_credentials import CloudCredentials
from gateway.upstream.failover import Upstream
from gateway.upstream.provider_state import ProviderState
from gateway.upstream.retry import RetryPolicy
from gateway.upstream.status import build_metrics
from gateway.upstream.waiting_calls import WaitingCalls
from gateway.upstream.write_batch import WriteBatch

_CALLS_PER_WAITING_CALL = 4
"""One in this many of the calls in flight may wait for a provider."""
_LEASE_FOLDER = "leases"
_CLASSIFIER_LOOK_SECONDS = 5.0
"""Seconds between looks at tenants' own classifiers."""
VERSION = metadata.version("tiergate")


class Gateway:
    """A running gateway: the configuration in force, and all parts that outlive it."""

    def __init__(  # noqa: PLR0913 - its surroundings, and what tests replace
        self,
        built_config: BuiltConfig,
        environ: Mapping[str, str],
        log: Log,
        *,
        host: str | None = None,
        transports: Transports | None = None,
        address_guard: media_fetch.AddressGuard = media_fetch.PUBLIC_GUARD,
        shared_memory: SharedMemory | None = None,
        workers: int | None = None,
        watcher: ConfigWatcher | None = None,
        clocks: Clocks = SYSTEM_CLOCKS,
        jitter: Callable[[], float] = random.random,
        start_query_process: Callable[[], Awaitable[query_process.QueryProcess]] | None = None,
    ) -> None:
        """`address_guard` says from where media may be fetched.

        `shared_memory` holds the metrics of all `workers`. `watcher` finds configurations that
        replace `built_config`; without it the first one stays. `jitter` returns a random fraction,
        which spreads retries. `start_query_process` starts what runs ledger queries.
        """
        config = built_config.source.config
        self.built_config = built_config
        self.log, self.clocks = log, clocks
        self.environ = environ
        """The environment at the start; it contains credentials."""
        self.data = find_data_folder(environ)
        self.admin_key = environ.get("TIERGATE_ADMIN_KEY", "").strip()
        self.keys: KeyTable = load_key_table(
            built_config.source, self.data, environ, log=log, creates=True
        )
        self.host = host or config.server.host
        self._check_host()
        self.ledger_runtime = self._make_ledger_runtime(shared_memory)
        self.journal_folder, self.store = (
            self.ledger_runtime.journal_folder, self.ledger_runtime.store,
        )  # fmt: skip
        self.query_pool = self._make_query_pool(start_query_process)
        self.recovered = self.ledger_runtime.recovered
        self._recoveries = [self.recovered]
        self._root_secret = secret.load_root(self.data, environ)
        self.cookie = secret.derive_key(self._root_secret, "cookie")
        self._hop_id = secrets.token_hex(4)
        self.write_batch = WriteBatch(self.ledger_runtime.writer.flush, clocks.monotonic)
        self.ledger_runtime.writer.defer_rows(self.write_batch)
        self._pools, self._credentials = (
            ConnectionPools(transports, self.write_batch),
            CloudCredentials(environ, wall=clocks.wall, jitter=jitter),
        )  # fmt: skip
        self._state_store = self._make_state_store(environ, config.cache.max_bytes)
        self.ended_sessions = self._make_ended_sessions()
        self._counter_store = self._make_counter_store()
        self._session_store = self._make_session_store()
        self._decision_models = DecisionModels(log, self.data)
        self._response_caching = ResponseCaching(self._state_store, self._root_secret, log, clocks)
        self.workers = workers or config.server.workers
        self.load_shedder = self._make_load_shedder()
        self._tenant_classifiers = self._make_tenant_classifiers()
        self.own_traffic = OwnTrafficReader(self.store, self._list_deciding_configs, log)
        self.limit_runtime = LimitRuntime(
            config,
            self._counter_store,
            self.ledger_runtime,
            self.keys,
            log,
            shares=self.workers,
            lease_folder=self.data / _LEASE_FOLDER,
            clocks=clocks,
        )
        self._turn_counter = TurnCounter(
            RedisTurnPool(self._state_store) if isinstance(self._state_store, RedisStore) else None,
            alert=self.limit_runtime.alert_share,
        )
        self.passthrough = PassThroughParts(config, self.data, self._root_secret, log, clocks)
        self._address_guard, self._jitter = address_guard, jitter
        self.waiting_calls = WaitingCalls(config.server.in_flight // _CALLS_PER_WAITING_CALL)
        """Calls that wait for providers."""
        self._provider_state = ProviderState(
            clock=clocks.monotonic,
            jitter=self._jitter,
            log=log,
            on_breaker_open=self.ledger_runtime.metrics.count_opened_target,
            waiting_calls=self.waiting_calls,
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._closing_tasks: set[asyncio.Task[None]] = set()
        self._retiring: set[Revision] = set()
        """Earlier revisions on which calls still run."""
        self.shadow = Shadow(
            lambda file, snapshot: self._build_candidate(load(file, environ, snapshot)),
            log,
            load_shedder=self.load_shedder,
        )
        self.shadow.adopt(built_config)
        self.revision = self._make_revision(built_config, None)
        self._adopt_share_bounds(built_config)
        self.reloader = Reloader(watcher or ConfigWatcher(built_config), self.swap, log)
        self._register_metrics()

    def _check_host(self) -> None:
        """Raise ConfigError if others can reach a gateway with open keys, or if no lab is on."""
        mistakes = find_refusals(self.built_config, self.keys, self.host)
        if mistakes:
            raise ConfigError(mistakes)

    @cached_property
    def key_store(self) -> KeyFile | KeyDatabase | None:
        """The store for changes of keys; None if keys are open. It connects for each change."""
        return open_key_store(self.built_config.source, self.data)

    @cached_property
    def audit(self) -> AuditLog:
        """The audit: who changed what through the gateway."""
        return AuditLog(self.data, note=self.log_act)

    def log_act(self, row: AuditRow) -> None:
        """Log the row of an act."""
        self.log(
            "audit", act=row.act, who=row.who, via=row.via, subject=row.subject, error=row.error
        )

    @property
    def engine(self) -> Engine:
        """The engine for calls that begin now."""
        return self.revision.engine

    @property
    def upstream(self) -> Upstream:
        """The upstream for calls that begin now."""
        return self.revision.upstream

    @property
    def limiter(self) -> Limiter:
        """The limiter that calls must pass."""
        return self.limit_runtime.limiter

    def _make_ledger_runtime(self, shared_memory: SharedMemory | None) -> LedgerRuntime:
        source, built_catalogue = self.built_config.source, self.built_config.built_catalogue
        try:
            return LedgerRuntime(
                source.config,
                self.data,
                self.log,
                url=resolve_store_url(source.config.ledger.store, self.data),
                info={"version": VERSION, "config": built_catalogue.catalogue.version},
                providers=built_catalogue.providers,
                strikes=tuple(compile_redactor(pattern) for pattern in source.config.ledger.redact),
                shared_memory=shared_memory,
                clocks=self.clocks,
            )
        except TraceError as error:
            part = "traces" if source.config.traces.endpoint else "otlp"
            raise ConfigError([source.make_mistake((part, "endpoint"), str(error))]) from None
        except SinkError as error:
            raise ConfigError([source.make_mistake(("ledger", "sinks"), f"{error}.")]) from None

    def _make_query_pool(
        self, start_process: Callable[[], Awaitable[query_process.QueryProcess]] | None
    ) -> QueryPool:
        """Return what runs ledger queries outside this process."""
        store_url = resolve_store_url(self.built_config.source.config.ledger.store, self.data)
        return QueryPool(
            start_process or partial(query_process.start, store_url, VERSION),
            self.log,
            self.clocks.monotonic,
        )

    def adopt_recovered(self, recovered: Recovered) -> None:
        """Add what a process that will not serve calls has recovered; `start` settles it."""
        self._recoveries.append(recovered)

    @property
    def retiring_count(self) -> int:
        """The number of earlier revisions on which calls still run."""
        return len(self._retiring)

    async def start(self) -> None:
        """Start the local engines, the ledger and the background tasks."""
        for local_engine in self.revision.local_engines.values():
            local_engine.start()
        self.ledger_runtime.start()
        await self.limit_runtime.settle_crashed(self._recoveries)
        self._tasks = [
            asyncio.create_task(self.keys.watch(asyncio.sleep), name="keys"),
            asyncio.create_task(self.reloader.watch(), name="configuration"),
            asyncio.create_task(self.shadow.watch(), name="candidate"),
            asyncio.create_task(self.shadow.decide_queued(), name="shadow"),
            asyncio.create_task(self.limiter.sweep_periodically(asyncio.sleep), name="limits"),
            asyncio.create_task(self.limiter.confirm_periodically(asyncio.sleep), name="epochs"),
            asyncio.create_task(self.limiter.renew_leases(asyncio.sleep), name="leases"),
            asyncio.create_task(self.limit_runtime.watch_budgets(asyncio.sleep), name="budgets"),
            asyncio.create_task(self._watch_classifiers(asyncio.sleep), name="classifiers"),
            asyncio.create_task(self.own_traffic.watch(asyncio.sleep), name="own traffic"),
            asyncio.create_task(
                self.passthrough.poll_jobs(lambda: self.revision.passthrough, asyncio.sleep),
                name="jobs",
            ),
            asyncio.create_task(
                self.query_pool.end_idle_periodically(asyncio.sleep), name="query processes"
            ),
            asyncio.create_task(
                self._turn_counter.refresh_periodically(asyncio.sleep), name="traffic"
            ),
            asyncio.create_task(
                self.load_shedder.sample_periodically(asyncio.sleep, self.clocks.monotonic),
                name="pressure",
            ),
        ]
        for task in self._tasks:
            task.add_done_callback(self._log_ended_task)

    async def stop(self) -> None:
        """Stop everything, after finishing the work for calls that have ended."""
        await self.reloader.drain()
        await asyncio.gather(*self._closing_tasks)
        await self._decision_models.close()
        revisions = (self.revision, *self._retiring)
        for revision in revisions:
            await revision.engine.drain()
            await revision.passthrough.jobs.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.query_pool.close()
        await self.limiter.close()
        await self.ledger_runtime.stop()  # first of the slow steps: rows must not be lost
        await asyncio.gather(
            *(local_engine.stop() for local_engine in list_local_engines(revisions))
        )
        await self._pools.close()
        await self._credentials.close()
        await self.passthrough.owners.close()
        await self._state_store.close()
        await self._counter_store.close()

    def swap(self, built_config: BuiltConfig) -> None:
        """Put another configuration in force for calls that begin from now on.

        Calls that run end with their own configuration. Knowledge of a provider stays unless the
        provider has changed. If the configuration cannot be put together, this raises and changes
        nothing.
        """
        old_revision, revision = self.revision, self._make_revision(built_config, self.revision)
        self.limit_runtime.adopt(built_config.source.config)
        self._adopt_share_bounds(built_config)
        for local_engine in list_local_engines((revision,)) - list_local_engines((old_revision,)):
            self.log("engine", text=f"{local_engine.provider.name}: started, as its command is new")
            local_engine.start()
        self.ledger_runtime.adopt(
            built_config.source.config, revision.version, built_config.built_catalogue.providers
        )
        self._expect_targets(built_config)
        old_providers = old_revision.built_config.built_catalogue.providers
        new_providers = built_config.built_catalogue.providers
        self._provider_state.forget(
            {
                name
                for name in old_providers
                if not is_same_provider(old_providers[name], new_providers.get(name))
            }
        )
        self.shadow.adopt(built_config)
        self.built_config, self.revision = built_config, revision
        self.keys.forget_tokens()  # another configuration may map them to other keys
        self._retiring.add(old_revision)
        old_revision.retire(lambda: self._close_revision(old_revision))

    async def _watch_classifiers(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        """Adopt classifiers that training has written meanwhile, until cancelled."""
        while True:
            await sleep(_CLASSIFIER_LOOK_SECONDS)
            if await asyncio.to_thread(self._tenant_classifiers.refresh):
                adopt_classifiers(self.built_config, self._tenant_classifiers)

    def _list_deciding_configs(self) -> list[BuiltConfig]:
        """Return the configuration in force, and the candidate if there is one."""
        candidate = self.shadow.candidate
        return [self.built_config] if candidate is None else [self.built_config, candidate]

    def _build_candidate(self, source: ConfigSource) -> BuiltConfig:
        built_config = build_config(source, datetime.now(UTC))
        self.own_traffic.adopt_into(built_config)
        return built_config

    def _close_revision(self, revision: Revision) -> None:
        """Close what only a retired revision used, after its last call has ended."""

        async def close() -> None:
            await revision.engine.drain()
            await revision.passthrough.jobs.drain()
            self._retiring.discard(revision)
            remaining = (self.revision, *self._retiring)
            engines_in_use = list_local_engines(remaining)
            await asyncio.gather(
                *(item.stop() for item in list_local_engines((revision,)) - engines_in_use)
            )
            await self._pools.close_unused(
                provider
                for item in remaining
                for provider in item.built_config.built_catalogue.providers.values()
            )

        task = asyncio.create_task(close())
        self._closing_tasks.add(task)
        task.add_done_callback(self._closing_tasks.discard)

    def _make_revision(self, built_config: BuiltConfig, old_revision: Revision | None) -> Revision:
        """Return a revision: a configuration, its own parts, and the parts that outlive it."""
        config, ledger_runtime = built_config.source.config, self.ledger_runtime
        adopt_classifiers(built_config, self._tenant_classifiers)
        self.own_traffic.adopt_into(built_config)
        client = ProviderClient(
            self._pools, hop=self._hop_id, write_batch=self.write_batch,
            credentials=self._credentials,
        )  # fmt: skip
        local_engines = make_local_engines(
            built_config.built_catalogue.providers.values(),
            {} if old_revision is None else old_revision.local_engines,
            self.data,
            lambda text: self.log("engine", text=text),
        )

        async def ensure_ready(provider: Provider) -> None:
            if (local_engine := local_engines.get(provider.name)) is not None:
                client.set_base_url(provider.name, await local_engine.wait_until_ready())

        upstream = Upstream(
            client,
            wait_until_ready=ensure_ready,
            sleep=asyncio.sleep,
            jitter=self._jitter,
            wall=self.clocks.wall,
            media_fetcher=self._make_media_fetcher(config.media),
            hedge_seconds={str(tier): wait for tier, wait in config.routing.hedge.items()},
            policy=RetryPolicy(
                preferred_wait=config.retry.preferred_wait,
                preferred_again=config.retry.preferred_again,
                longest_wait=config.retry.longest_wait,
            ),
            provider_state=self._provider_state,
        )
        context_loader = ContextLoader(
            self._session_store,
            ttl=config.routing.seats.ttl,
            unavailable_reason=self._provider_state.health.get_skip_reason,
            turn_counter=self._turn_counter,
            matcher=self._decision_models.make_matcher(config, lambda: engine),
            judge=self._decision_models.make_judge(
                built_config, lambda: engine, lambda: passthrough
            ),
        )

        def settle_call(row: FinalRow) -> None:
            self.limit_runtime.limiter.settle(row)  # first: both then reach the store together
            context_loader.save_session(row)

        recorder = CallRecorder(
            ledger_runtime.writer,
            self.log,
            record_opening=ledger_runtime.writer.add_intent,
            record_ending=ledger_runtime.writer.add_ended_call,
            sync_waiter=ledger_runtime.sync_waiter,
            baseline=baseline.build_baseline(built_config.source, built_config.built_catalogue),
            on_begin=ledger_runtime.trace_starter,
            on_end=settle_call,
            on_decision=self.shadow.enqueue if config.routing.shadow else None,
            clock=self.clocks.monotonic,
            wall=self.clocks.wall,
        )

        response_store = self._response_caching.make_response_store(config.cache)
        objects = self.passthrough.make_guard(built_config)
        memory = self._make_memory(config.responses, objects)
        engine = Engine(
            router=built_config.router,
            upstream=upstream,
            response_store=response_store,
            semantic_cache=self._response_caching.make_semantic_cache(
                config.cache, response_store, lambda: engine
            ),
            recorder=recorder,
            log=self.log,
            on_loss=config.routing.on_loss,
            memory=memory,
            context_loader=context_loader,
            keep_transcript=ledger_runtime.keep_transcript
            if ledger_runtime.keeps_content
            else None,
            limiter=self.limiter,
            load_shedder=self.load_shedder,
            objects=objects,
            end_user_hasher=self.end_user_hasher,
            clock=self.clocks.monotonic,
            wall=self.clocks.wall,
        )
        passthrough = self.passthrough.make_engine(
            built_config,
            client,
            recorder,
            memory,
            limiter=self.limiter,
            record=ledger_runtime.writer,
            end_user_hasher=self.end_user_hasher,
            wait_until_ready=ensure_ready,
        )
        make_realtime = partial(
            realtime.make_engine,
            config.realtime,
            router=built_config.router,
            context_loader=context_loader,
            recorder=recorder,
            limiter=self.limiter,
            objects=objects,
            client=client,
            wait_until_ready=ensure_ready,
            flush_rows=self.write_batch.flush,
            log=self.log,
            clocks=self.clocks,
        )
        return Revision(
            built_config,
            engine,
            passthrough,
            upstream,
            client,
            local_engines,
            self.clocks.wall(),
            make_realtime,
        )

    def _expect_targets(self, built_config: BuiltConfig) -> None:
        self.ledger_runtime.metrics.expect(
            (lab.name, tier, target.provider.name, target.model)
            for lab in built_config.built_catalogue.catalogue.labs.values()
            for tier, targets in (*lab.tiers.items(), ("", lab.embeddings))
            for target in targets
            if target.provider.enabled
        )

    def _adopt_share_bounds(self, built_config: BuiltConfig) -> None:
        """Adopt the shares that tiers may have from now on."""
        max_share = built_config.source.config.routing.max_share
        classifier = built_config.router.classifier
        bounds = ShareBounds(reasoning=max_share.reasoning, smart=max_share.smart)
        thresholds = classifier.thresholds if classifier is not None else None
        self._turn_counter.adopt(None if bounds == ShareBounds() else bounds, thresholds)

    @cached_property
    def end_user_hasher(self) -> EndUserHasher:
        """The hasher of end users' ids; it outlives configurations."""
        return EndUserHasher(secret.derive_key(self._root_secret, HASH_KEY_LABEL))

    def _register_metrics(self) -> None:
        metrics, state = self.ledger_runtime.metrics, self._state_store
        self._expect_targets(self.built_config)
        metrics.watch(*_make_process_metrics(self.load_shedder))
        metrics.watch(*self.reloader.measures())
        metrics.watch(*self.query_pool.build_metrics())
        provider_state = self._provider_state
        metrics.watch(*build_metrics(provider_state))
        metrics.watch((), [self.limit_runtime.build_excess_metric()])
        metrics.watch(
            labelled_gauges=self.limit_runtime.measures(
                keys=metrics.has_key_labels,
                teams=metrics.has_team_labels,
                tenants=metrics.has_tenant_labels,
            )
        )
        metrics.watch((), [*self._turn_counter.build_metrics(), *self._decision_models.measures()])
        metrics.watch((), self._response_caching.measures())
        if (database := self.keys.database) is not None:
            metrics.watch(_make_key_metrics(database))
        if not isinstance(state, MemoryStore):
            redis_gauge = GaugeMetric(
                "redis_up", "Whether Redis answers.", lambda: state.alive, "min"
            )
            metrics.watch([redis_gauge])

    def _make_tenant_classifiers(self) -> TenantClassifiers:
        classifiers = TenantClassifiers(self.data, lambda text: self.log("classifier", error=text))
        classifiers.refresh()
        return classifiers

    def _make_load_shedder(self) -> LoadShedder:
        """Return the load shedder, bounded by this process's share of memory and by its files."""
        server, control_group = self.built_config.source.config.server, process.ControlGroup()
        memory = server.max_memory or process.read_physical_bytes()
        return LoadShedder(
            lambda: LoadSample(
                process.read_resident_bytes(),
                control_group.find_tightest_reach(),
                process.count_open_files(),
            ),
            max_memory=None if memory is None else memory // self.workers,
            max_files=process.raise_file_limit(),
            max_lag=server.max_lag,
            log=self.log,
            trim_memory=process.trim,
            random_fraction=random.Random().random,  # noqa: S311 - spreads clients, guards nothing
        )

    def _log_ended_task(self, task: asyncio.Task[None]) -> None:
        """Log a background task that has failed, which is a bug in the gateway."""
        if not task.cancelled() and (error := task.exception()) is not None:
            text = "a background task has ended: restart the gateway, and report this line"
            self.log("task", name=task.get_name(), error=locate_error(error), text=text)

    def _make_state_store(self, environ: Mapping[str, str], max_bytes: int) -> StateStore:
        url = environ.get("REDIS_URL")
        if not url:
            return MemoryStore(max_bytes, clock=self.clocks.monotonic)
        redis_part = self.built_config.source.config.redis
        with self._check_redis_url():
            return RedisStore(
                url,
                note=lambda text: self.log("redis", text=text),
                clock=self.clocks.monotonic,
                connect_timeout=redis_part.connect_timeout,
                verify=redis_part.verify,
            )

    def _make_ended_sessions(self) -> EndedSessions:
        """Return the record of dashboard sessions that were ended."""
        shared = self._state_store if isinstance(self._state_store, RedisStore) else None
        return EndedSessions(self.data / "sessions", shared, self.clocks.wall)

    def _make_counter_store(self) -> CounterStore:
        state = self._state_store
        if not isinstance(state, RedisStore):
            return MemoryCounters(self.clocks.monotonic)
        # Gateways that share a ledger have no other data folder if the ledger is within this one.
        store_url = resolve_store_url(self.built_config.source.config.ledger.store, self.data)
        is_new = store_url.startswith(f"{SQLITE_SCHEME}{self.data}/") and not any(
            path.stat().st_size for path in list_segments(self.journal_folder)
        )
        claim_first = partial(claim_first_epoch, self.data / _LEASE_FOLDER) if is_new else bool
        return RedisCounters(state, claim_first=claim_first)

    def _make_session_store(self) -> SessionStore:
        """Return the store of sessions, shared by all users of a Redis or local to this process."""
        state = self._state_store
        if isinstance(state, RedisStore):
            return SharedSessionStore(state, secret=secret.derive_key(self._root_secret, "seats"))
        return LocalSessionStore(clock=self.clocks.monotonic)

    @contextmanager
    def _check_redis_url(self) -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            text = f"REDIS_URL cannot be used: {error}."
            raise ConfigError([self.built_config.source.make_mistake(("cache",), text)]) from None

    def _make_media_fetcher(self, media_part: MediaPart) -> media_fetch.MediaFetcher | None:
        """Return the fetcher of media that requests have by URL; None if it is off."""
        if media_part.fetch == "off":
            return None
        bounds = media_fetch.MediaBounds(
            allowed_hosts=tuple(media_part.allow),
            types=frozenset(media_part.types),
            max_bytes=media_part.max_bytes,
            timeout=media_part.timeout,
        )
        return media_fetch.MediaFetcher(bounds, self._address_guard)

    def _make_memory(
        self, responses_part: ResponsesPart, objects: ObjectGuard
    ) -> ConversationMemory:
        notes = ReasoningNoteStore(
            self._state_store, secret=secret.derive_key(self._root_secret, "notes")
        )
        saved_responses = None
        if responses_part.ttl > 0:
            saved_responses = SavedResponses(
                self._state_store,
                secret=secret.derive_key(self._root_secret, "responses"),
                ttl=responses_part.ttl,
            )
        # All keys share a provider's account, which would give each key every answer.
        foreign = responses_part.foreign or ("pass" if self.keys.is_open else "refuse")
        return ConversationMemory(
            notes,
            saved_responses,
            passes_foreign=foreign == "pass",
            objects=AnswerObjects(objects),
            log=self.log,
        )


def _make_key_metrics(database: DatabaseSecrets) -> list[GaugeMetric]:
    """Return the metrics of a key database for /metrics."""
    return [
        GaugeMetric(
            "key_database_up",
            "Whether the database of keys answers.",
            lambda: not database.failure,
            "min",
        ),
        GaugeMetric(
            "key_database_age_seconds",
            "Seconds since the keys were last known to be current.",
            lambda: database.age,
            "max",
        ),
    ]


def _make_process_metrics(
    load_shedder: LoadShedder,
) -> tuple[list[GaugeMetric], list[CounterMetric]]:
    """Return the metrics of this process for /metrics."""
    return [
        GaugeMetric(
            "pressure",
            "The level of load shedding: 0 refuses no calls, 3 refuses all.",
            lambda: load_shedder.level,
            "max",
        ),
        GaugeMetric(
            "loop_lag_seconds", "The delay of the event loop.", lambda: load_shedder.lag, "max"
        ),
        GaugeMetric("memory_bytes", "Memory in use.", lambda: load_shedder.last_sample.memory),
        GaugeMetric(
            "open_files", "Files and sockets that are open.", lambda: load_shedder.last_sample.files
        ),
    ], [
        CounterMetric("shed", "Requests refused by load shedding.", lambda: load_shedder.shed_count)
    ]
