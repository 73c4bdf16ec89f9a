"""A configuration put together into a running gateway: the only place that chooses its parts."""

import asyncio
import random
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata

from gateway.cache.policy import CachePolicy
from gateway.cache.reasoning_note_store import ReasoningNoteStore
from gateway.cache.response_cache import ResponseStore
from gateway.cache.response_store import SavedResponses
from gateway.cache.semantic.cache import SemanticCache, VectorIndex
from gateway.cache.semantic.vector_index import LocalVectorIndex as Around
from gateway.cache.semantic.vector_index import RedisVectorIndex as Everywhere
from gateway.cache.session_store import LocalSessionStore as Remembered
from gateway.cache.session_store import SessionStore
from gateway.cache.session_store import SharedSessionStore as Common
from gateway.core.ledger_rows import FinalRow
from gateway.core.target import Provider
from gateway.ledger.recovery import Recovered
from gateway.ledger.redaction_patterns import strike
from gateway.limits import keys
from gateway.limits.counters import CounterStore
from gateway.limits.keys import KeyTable
from gateway.limits.limiter import Limiter
from gateway.limits.load_shedding import LoadSample, LoadShedder
from gateway.limits.memory import MemoryCounters as Counted
from gateway.limits.redis import RedisCounters
from gateway.limits.tier_share import RedisTurnPool, TurnCounter
from gateway.pipeline.accounting import CallRecorder
from gateway.pipeline.context import ContextLoader
from gateway.pipeline.conversation_memory import ConversationMemory
from gateway.pipeline.embedder import EmbedderTrust, EmbeddingModel
from gateway.pipeline.engine import Engine
from gateway.pipeline.ledger_runtime import LedgerRuntime
from gateway.pipeline.limit_enforcement import LimitRuntime
from gateway.pipeline.llm_judge import Judge, JudgeMemory
from gateway.routing.tier_share import ShareBounds
from gateway.runtime.build import BuiltConfig, adopt, data_folder, refusals, store_url
from gateway.runtime.build import site as built
from gateway.runtime.reloader import ConfigWatcher, Reloader
from gateway.runtime.revision import Revision, same
from gateway.runtime.shadow import Shadow
from gateway.runtime.tenant_classifiers import TenantClassifiers
from gateway.settings import baseline
from gateway.settings.errors import ConfigError
from gateway.settings.loader import load
from gateway.settings.schema.root import CachePart, MediaPart, ResponsesPart
from gateway.state import StateStore, secret
from gateway.state.ended_sessions import EndedSessions
from gateway.state.memory import MemoryStore as Here
from gateway.state.redis.store import RedisStore
from gateway.telemetry import process
from gateway.telemetry.log import Log, where
from gateway.telemetry.metrics import CounterMetric, GaugeMetric
from gateway.telemetry.shared_metrics import SharedMemory
from gateway.telemetry.tracing import TraceError
from gateway.upstream import media_fetch
from gateway.upstream.client import ConnectionPools, ProviderClient, Transports
from gateway.upstream.failover import Upstream
from gateway.upstream.local_engine import LocalEngine as Local
from gateway.upstream.provider_state import ProviderState
from gateway.upstream.retry import RetryPolicy
from gateway.upstream.status import measures
from gateway.upstream.waiting_calls import WaitingCalls
from gateway.upstream.write_batch import WriteBatch

_WAITING = 4
"""One in so many of the calls at a time may wait for a provider."""
_TRAINED = 5.0
"""Seconds from one look at tenants' own classifiers to the next."""
VERSION = metadata.version("tiergate")


class Gateway:
    """A running gateway: a configuration in force, and all that outlives one."""

    def __init__(  # noqa: PLR0913 - where it runs, and what tests put in place of the world
        self,
        site: BuiltConfig,
        environ: Mapping[str, str],
        log: Log,
        *,
        host: str | None = None,
        transports: Transports | None = None,
        guard: media_fetch.AddressGuard = media_fetch.PUBLIC,
        figures: SharedMemory | None = None,
        workers: int | None = None,
        renewal: ConfigWatcher | None = None,
    ) -> None:
        """`guard` says which hosts media may be fetched from; `workers` count in `figures`.

        `renewal` finds out what replaces `site`; without it nothing does.
        """
        config = site.source.config
        self.site = site
        self.log = log
        self.environ = environ
        """What it was started with: credentials are in it."""
        self.data = data_folder(environ)
        self.admin_key = environ.get("TIERGATE_ADMIN_KEY", "").strip()
        self.keys: KeyTable = keys.load(
            config.keys, site.source.file.parent, environ.get("TIERGATE_KEYS", ""), log=log
        )
        self.host = host or config.server.host
        self._check_host()
        self.archive = self._archive(figures)
        self.journal_folder, self.store = self.archive.folder, self.archive.store
        self.recovered = self.archive.recovered
        self._dead = [self.recovered]
        self._root = secret.root(self.data, environ)
        self.cookie = secret.derive(self._root, "cookie")
        self._hop = secrets.token_hex(4)
        self.outbox = WriteBatch(self.archive.record.flush)
        self.archive.record.wait(self.outbox)
        self._pools = ConnectionPools(transports, self.outbox)
        self._state = self._store(environ, config.cache.max_bytes)
        self.ended_sessions = self._sessions()
        self._meter = self._counter()
        self._seats = self._seated()
        self._verdicts = JudgeMemory(log)
        self._places = self._placed()
        self._trust = EmbedderTrust(log)
        self._workers = workers or config.server.workers
        self.pressure = self._measured()
        self._owned = TenantClassifiers(self.data, lambda text: log("classifier", error=text))
        self._owned.refresh()
        self.toll = LimitRuntime(
            config, self._meter, self.archive, self.keys, log, shares=self._workers
        )
        self._traffic = TurnCounter(
            RedisTurnPool(self._state) if isinstance(self._state, RedisStore) else None,
            alert=self.toll.share,
        )
        self._guard = guard
        self._jitter = random.Random().random  # noqa: S311 - spreads retries, guards nothing
        self.waiting = WaitingCalls(config.server.in_flight // _WAITING)
        """The calls that wait for providers."""
        self._known = ProviderState(
            jitter=self._jitter,
            log=log,
            opened=self.archive.metrics.opened,
            waiting=self.waiting,
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._over: set[asyncio.Task[None]] = set()
        self._earlier: set[Revision] = set()
        """Those that calls still run on."""
        self.shadow = Shadow(
            lambda file, reads: built(load(file, environ, reads), datetime.now(UTC)),
            log,
            pressure=self.pressure,
        )
        self.shadow.adopt(site)
        self.edition = self._edition(site, None)
        self._bound(site)
        self.reload = Reloader(renewal or ConfigWatcher(site), self.swap, log)
        self._watch()

    def _check_host(self) -> None:
        """Raises ConfigError where others would reach a gateway whose keys are open."""
        refused = refusals(self.site, self.keys, self.host)
        if refused:
            raise ConfigError(refused)

    @property
    def engine(self) -> Engine:
        """What serves calls that begin now."""
        return self.edition.engine

    @property
    def upstream(self) -> Upstream:
        """What asks providers for them."""
        return self.edition.upstream

    @property
    def gate(self) -> Limiter:
        """What they must pass."""
        return self.toll.gate

    def _archive(self, figures: SharedMemory | None) -> LedgerRuntime:
        source, built = self.site.source, self.site.built
        try:
            return LedgerRuntime(
                source.config,
                self.data,
                self.log,
                url=store_url(source.config.ledger.store, self.data),
                info={"version": VERSION, "config": built.catalogue.version},
                providers=built.providers,
                strikes=tuple(strike(pattern) for pattern in source.config.ledger.redact),
                figures=figures,
            )
        except TraceError as error:
            raise ConfigError([source.mistake(("traces", "endpoint"), str(error))]) from None

    def adopt(self, recovered: Recovered) -> None:
        """Settle at the start what another process has recovered, which will not serve."""
        self._dead.append(recovered)

    @property
    def ending(self) -> int:
        """Earlier configurations that calls still run on."""
        return len(self._earlier)

    async def start(self) -> None:
        """Begin what goes on beside calls."""
        for local in self.edition.locally.values():
            local.start()
        self.archive.start()
        await self.toll.settle_dead(self._dead)
        self._tasks = [
            asyncio.create_task(self.keys.watch(), name="keys"),
            asyncio.create_task(self.reload.watch(), name="configuration"),
            asyncio.create_task(self.shadow.watch(), name="candidate"),
            asyncio.create_task(self.shadow.work(), name="shadow"),
            asyncio.create_task(self.gate.keep(asyncio.sleep), name="limits"),
            asyncio.create_task(self.toll.keep(asyncio.sleep), name="budgets"),
            asyncio.create_task(self._own(asyncio.sleep), name="classifiers"),
            asyncio.create_task(self._traffic.keep(asyncio.sleep), name="traffic"),
            asyncio.create_task(self.pressure.keep(asyncio.sleep, time.monotonic), name="pressure"),
        ]
        for task in self._tasks:
            task.add_done_callback(self._ended)

    async def stop(self) -> None:
        """End it all; what was begun for calls that have ended is finished first."""
        await self.reload.settle()
        await asyncio.gather(*self._over)
        last = (self.edition, *self._earlier)
        for edition in last:
            await edition.engine.settle()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.archive.stop()  # first of all that may take its time: rows are what must be kept
        await asyncio.gather(*(one.stop() for one in _locals(last)))
        await self._pools.close()
        await self._state.close()
        await self._meter.close()

    def swap(self, site: BuiltConfig) -> None:
        """Let calls that begin from now on go by another configuration.

        Those that run end by their own. What is known of providers stays, but of those that are
        others now. Raises, and changes nothing, where it cannot be put together.
        """
        before, edition = self.edition, self._edition(site, self.edition)
        self.toll.adopt(site.source.config)
        self._bound(site)
        for local in _locals((edition,)) - _locals((before,)):
            self.log("engine", text=f"{local.provider.name}: started, as its command is new")
            local.start()
        self.archive.adopt(site.source.config, edition.version, site.built.providers)
        self._expect(site)
        was, now = before.site.built.providers, site.built.providers
        self._known.forget({name for name in was if not same(was[name], now.get(name))})
        self.shadow.adopt(site)
        self.site, self.edition = site, edition
        self._earlier.add(before)
        before.retire(lambda: self._end(before))

    async def _own(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        """Take classifiers that were trained meanwhile, until cancelled."""
        while True:
            await sleep(_TRAINED)
            if await asyncio.to_thread(self._owned.refresh):
                adopt(self.site, self._owned)

    def _end(self, edition: Revision) -> None:
        """The last call of an edition has ended: what only it has used is closed."""

        async def end() -> None:
            await edition.engine.settle()
            self._earlier.discard(edition)
            left = (self.edition, *self._earlier)
            kept = _locals(left)
            await asyncio.gather(*(one.stop() for one in _locals((edition,)) - kept))
            await self._pools.only(
                provider for one in left for provider in one.site.built.providers.values()
            )

        task = asyncio.create_task(end())
        self._over.add(task)
        task.add_done_callback(self._over.discard)

    def _edition(self, site: BuiltConfig, before: Revision | None) -> Revision:
        """A configuration with all that calls need, of what there is and what is new."""
        config, archive = site.source.config, self.archive
        adopt(site, self._owned)
        client = ProviderClient(self._pools, hop=self._hop, outbox=self.outbox)
        locally = self._engines(site, before)

        async def ready(provider: Provider) -> None:
            if (local := locally.get(provider.name)) is not None:
                client.bases[provider.name] = await local.ready()

        upstream = Upstream(
            client,
            ready=ready,
            sleep=asyncio.sleep,
            jitter=self._jitter,
            media=self._media(config.media),
            hedge={str(tier): wait for tier, wait in config.routing.hedge.items()},
            policy=RetryPolicy(
                preferred_wait=config.retry.preferred_wait,
                preferred_again=config.retry.preferred_again,
                longest_wait=config.retry.longest_wait,
            ),
            known=self._known,
        )
        gather = ContextLoader(
            self._seats,
            ttl=config.routing.seats.ttl,
            out=self._known.health.why,
            traffic=self._traffic,
            judge=None
            if (part := config.routing.judge) is None
            else Judge(part.model, part.timeout, self._verdicts, server=lambda: engine),
        )

        def settle(entry: FinalRow) -> None:
            self.gate.settle(entry)  # first: what it tells later leaves with what is told at once
            gather.settle(entry)

        cache = self._cache(config.cache)
        engine = Engine(
            router=site.router,
            upstream=upstream,
            cache=cache,
            near=self._near(config.cache, cache, lambda: engine),
            books=CallRecorder(
                archive.record,
                self.log,
                ask=archive.record.ask,
                end=archive.record.end,
                settled=archive.settled,
                baseline=baseline.baseline(site.source, site.built),
                begin=archive.begin,
                settle=settle,
                aside=self.shadow.note if config.routing.shadow else None,
            ),
            log=self.log,
            on_loss=config.routing.on_loss,
            past=self._past(config.responses),
            gather=gather,
            kept=archive.kept if archive.keeps else None,
            gate=self.gate,
            turn=self.outbox.turn,
            meanwhile=self.outbox.meanwhile,
            pressure=self.pressure,
        )
        return Revision(site, engine, upstream, client, locally, time.time())

    def _engines(self, site: BuiltConfig, before: Revision | None) -> dict[str, Local]:
        """Local engines; one whose command is the same goes on."""
        providers = site.built.providers.values()
        known = [account.secret for provider in providers for account in provider.accounts]
        found: dict[str, Local] = {}
        for one in providers:
            if not one.on or not one.command:
                continue
            running = before.locally.get(one.name) if before is not None else None
            if running is None or running.provider.command != one.command:
                running = Local(one, self.data / f"{one.name}.log", self._say, secrets=known)
            found[one.name] = running
        return found

    def _expect(self, site: BuiltConfig) -> None:
        self.archive.metrics.expect(
            (lab.name, tier, target.provider.name, target.model)
            for lab in site.built.catalogue.labs.values()
            for tier, targets in (*lab.tiers.items(), ("", lab.embeddings))
            for target in targets
            if target.provider.on
        )

    def _bound(self, site: BuiltConfig) -> None:
        """The shares that tiers may have from now on."""
        part, classifier = site.source.config.routing.max_share, site.router.classifier
        most = ShareBounds(reasoning=part.reasoning, smart=part.smart)
        own = classifier.thresholds if classifier is not None else None
        self._traffic.adopt(None if most == ShareBounds() else most, own)

    def _watch(self) -> None:
        metrics, state = self.archive.metrics, self._state
        self._expect(self.site)
        metrics.watch(*_measures(self.pressure))
        metrics.watch(*self.reload.measures())
        known = self._known
        metrics.watch(*measures(known))
        metrics.watch(many=self.toll.measures(keys=metrics.keys, tenants=metrics.tenants))
        metrics.watch((), [*self._traffic.measures(), *self._verdicts.measures()])
        metrics.watch((), self._trust.measures())
        if not isinstance(state, Here):
            up = GaugeMetric("redis_up", "Whether Redis answers.", lambda: state.alive, "min")
            metrics.watch([up])

    def _measured(self) -> LoadShedder:
        """How much this process can take: its part of the memory, and its files."""
        server, group = self.site.source.config.server, process.ControlGroup()
        memory = server.max_memory or process.physical()
        return LoadShedder(
            lambda: LoadSample(process.resident(), group.reach(), process.files()),
            memory=None if memory is None else memory // self._workers,
            files=process.most_files(),
            lag=server.max_lag,
            log=self.log,
            lean=process.trim,
            chance=random.Random().random,  # noqa: S311 - spreads clients, guards nothing
        )

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Log a background task that a mistake of the gateway has ended."""
        if not task.cancelled() and (error := task.exception()) is not None:
            text = "a background task has ended: restart the gateway, and report this line"
            self.log("task", name=task.get_name(), error=where(error), text=text)

    def _say(self, text: str) -> None:
        self.log("engine", text=text)

    def _store(self, environ: Mapping[str, str], most: int) -> StateStore:
        url = environ.get("REDIS_URL")
        if not url:
            return Here(most, clock=time.monotonic)
        part = self.site.source.config.redis
        with self._usable():
            return RedisStore(
                url,
                note=lambda text: self.log("redis", text=text),
                clock=time.monotonic,
                connect=part.connect_timeout,
                verify=part.verify,
            )

    def _sessions(self) -> EndedSessions:
        """Return what keeps sessions of the dashboard that were ended."""
        shared = self._state if isinstance(self._state, RedisStore) else None
        return EndedSessions(self.data / "sessions", shared, time.time)

    def _counter(self) -> CounterStore:
        state = self._state
        return RedisCounters(state) if isinstance(state, RedisStore) else Counted()

    def _seated(self) -> SessionStore:
        """Where conversations sit: known to all that share a Redis, or to this process."""
        state = self._state
        if isinstance(state, RedisStore):
            return Common(state, secret=secret.derive(self._root, "seats"))
        return Remembered(clock=time.monotonic)

    @contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            text = f"REDIS_URL cannot be used: {error}."
            raise ConfigError([self.site.source.mistake(("cache",), text)]) from None

    def _media(self, part: MediaPart) -> media_fetch.MediaFetcher | None:
        """What fetches media that a request has by URL, where the configuration says so."""
        if part.fetch == "off":
            return None
        bounds = media_fetch.MediaBounds(
            allow=tuple(part.allow),
            types=frozenset(part.types),
            most=part.max_bytes,
            timeout=part.timeout,
        )
        return media_fetch.MediaFetcher(bounds, self._guard)

    def _cache(self, part: CachePart) -> ResponseStore | None:
        if part.ttl <= 0:
            return None
        return ResponseStore(
            self._state,
            secret=secret.derive(self._root, "cache"),
            ttl=part.ttl,
            clock=time.time,
            sharing=part.scope,
            policy=CachePolicy(part.default, sampled=part.sampled),
            sealed=isinstance(self._state, RedisStore),
            note=lambda text: self.log("cache", text=text),
        )

    def _placed(self) -> VectorIndex:
        """Where near questions are known: to all that share a Redis, or to this process."""
        here, state = Around(clock=time.monotonic), self._state
        if not isinstance(state, RedisStore):
            return here
        return Everywhere(state, here, lambda text: self.log("near", text=f"the Redis {text}"))

    def _near(
        self, part: CachePart, exact: ResponseStore | None, server: Callable[[], Engine]
    ) -> SemanticCache | None:
        """What finds the answers of near questions."""
        if exact is None or part.near is None:
            return None
        return SemanticCache(
            exact,
            self._places,
            EmbeddingModel(part.near.embed, self._trust, server=server),
            self._state,
            secret=secret.derive(self._root, "near"),
            ttl=part.ttl,
            threshold=part.near.threshold,
            timeout=part.near.timeout,
        )

    def _past(self, part: ResponsesPart) -> ConversationMemory:
        notes = ReasoningNoteStore(self._state, secret=secret.derive(self._root, "notes"))
        if part.ttl <= 0:
            return ConversationMemory(notes)
        kept = SavedResponses(
            self._state, secret=secret.derive(self._root, "responses"), ttl=part.ttl
        )
        return ConversationMemory(notes, kept)


def _locals(editions: Iterable[Revision]) -> set[Local]:
    return {local for edition in editions for local in edition.locally.values()}


def _measures(pressure: LoadShedder) -> tuple[list[GaugeMetric], list[CounterMetric]]:
    """What of the process is told at /metrics."""
    return [
        GaugeMetric("pressure", "Who is refused: 0 nobody, 3 all.", lambda: pressure.level, "max"),
        GaugeMetric(
            "loop_lag_seconds", "How late the event loop is.", lambda: pressure.late, "max"
        ),
        GaugeMetric("memory_bytes", "Memory in use.", lambda: pressure.seen.memory),
        GaugeMetric("open_files", "Files and sockets that are open.", lambda: pressure.seen.files),
    ], [CounterMetric("shed", "Requests refused for want of room.", lambda: pressure.shed)]
