"""A configuration put together into a running gateway: the only place that chooses its parts."""

import asyncio
import os
import random
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from importlib import metadata
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from gateway.archive import Archive
from gateway.books import Books
from gateway.cache.exact import Exact
from gateway.cache.note import Notes
from gateway.cache.responses import Responses
from gateway.core import jsonio
from gateway.core.target import Provider
from gateway.dialects import DIALECTS
from gateway.dialects.anthropic_messages import effort as messages
from gateway.dialects.gemini import effort as gemini
from gateway.dialects.openai_chat import effort as chat
from gateway.dialects.openai_responses import effort as responses
from gateway.engine import Engine
from gateway.ledger.recovery import Recovered
from gateway.limits import keys
from gateway.limits.gate import Gate, end_of
from gateway.limits.keys import Keys
from gateway.limits.memory import Memory as Counted
from gateway.limits.meter import End, Lost, Meter, Need
from gateway.limits.pressure import Pressure, Sample
from gateway.limits.rule import Limits, Scope
from gateway.limits.shared import Shared
from gateway.limits.want import micro
from gateway.past import Past
from gateway.routing.decide import Router
from gateway.routing.prior import Prior
from gateway.routing.rules import RuleError, Rules, compile_rules
from gateway.routing.strike import strike
from gateway.settings import baseline, build, check, dates, prices
from gateway.settings.build import Built
from gateway.settings.load import Source
from gateway.settings.mistake import ConfigError, Mistake
from gateway.settings.schema import Media
from gateway.state import Store as StateStore
from gateway.state import secret
from gateway.state.memory import Memory as Here
from gateway.state.redis import Redis
from gateway.telemetry import machine
from gateway.telemetry.figures import Memory
from gateway.telemetry.log import Log
from gateway.telemetry.metrics import Count, Gauge
from gateway.telemetry.trace import TraceError
from gateway.upstream import media
from gateway.upstream.child import Engine as Local
from gateway.upstream.client import Client, Transports, tell
from gateway.upstream.run import Upstream
from gateway.upstream.view import measures

VERSION = metadata.version("tiergate")
_REFUSED = 300
"""From this status on a receiver of alerts has not taken one."""
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


STYLES = {
    "openai-chat": frozenset(chat.STYLES),
    "openai-responses": frozenset(responses.STYLES),
    "anthropic-messages": frozenset(messages.STYLES),
    "gemini": frozenset(gemini.STYLES),
}
"""How effort can be said, by dialect."""


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration, checked and built: all that deciding needs, and nothing that runs."""

    source: Source
    built: Built
    router: Router
    warnings: tuple[Mistake, ...]


def site(source: Source, now: datetime) -> Site:
    """Check and build a configuration. Raises ConfigError with every mistake."""
    mistakes = check.errors(source, frozenset(DIALECTS), STYLES)
    mistakes += [*_zone(source), *_struck(source)]
    rules = Rules()
    try:
        rules = compile_rules(source.config.guards, source.config.choices)
    except RuleError as error:
        mistakes += [source.mistake(one.path, f"{one}.") for one in error.every]
    if mistakes:
        raise ConfigError(mistakes)
    built = build.build(source, lambda provider, model: prices.find(provider, model, now))
    classifier = Prior() if source.config.routing.classifier == "prior" else None
    router = Router(
        catalogue=built.catalogue,
        rules=rules,
        classifier=classifier,
        complete=source.config.routing.complete,
        fetches=_fetches(source.config.media),
    )
    off = frozenset(name for name, provider in built.providers.items() if not provider.on)
    warnings = (
        *check.warnings(source, now.date(), STYLES, off),
        *dates.unpriced(source, built.catalogue),
        *baseline.warnings(source, built),
        *dates.listed(source, built.catalogue, now.date()),
    )
    return Site(source=source, built=built, router=router, warnings=warnings)


def _fetches(part: Media) -> frozenset[str]:
    return media.kinds(part.types) if part.fetch == "on" else frozenset()


def _zone(source: Source) -> list[Mistake]:
    name = source.config.ledger.time_zone
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        message = f"no time zone {name!r}."
        return [source.mistake(("ledger", "time_zone"), message, "Write it as Europe/Berlin.")]
    return []


def _struck(source: Source) -> Iterator[Mistake]:
    for at, pattern in enumerate(source.config.ledger.redact):
        try:
            strike(pattern)
        except ValueError as error:
            yield source.mistake(("ledger", "redact", at), f"{error}.")


def data_folder(environ: Mapping[str, str]) -> Path:
    """Where the gateway writes."""
    return Path(environ.get("TIERGATE_DATA") or "data")


class Gateway:
    """A running gateway: the engine, its keys and what goes on beside calls."""

    def __init__(
        self,
        site: Site,
        environ: Mapping[str, str],
        log: Log,
        *,
        host: str | None = None,
        transports: Transports | None = None,
        guard: media.Guard = media.PUBLIC,
        figures: Memory | None = None,
        workers: int | None = None,
    ) -> None:
        """`guard` says which hosts media may be fetched from; `workers` count in `figures`."""
        config = site.source.config
        self.site = site
        self.log = log
        self.data = data_folder(environ)
        self.admin_key = environ.get("TIERGATE_ADMIN_KEY", "").strip()
        self.keys: Keys = keys.load(
            config.keys, site.source.file.parent, environ.get("TIERGATE_KEYS", ""), log=log
        )
        refused = refusals(site, self.keys, host or config.server.host)
        if refused:
            raise ConfigError(refused)
        self.archive = self._archive(figures)
        self.journal_folder, self.store = self.archive.folder, self.archive.store
        self.recovered = self.archive.recovered
        self._dead = [self.recovered]
        self._client = Client(transports, hop=secrets.token_hex(4))
        providers = site.built.providers.values()
        known = [account.secret for provider in providers for account in provider.accounts]
        self._locals = {
            provider.name: Local(
                provider, self.data / f"{provider.name}.log", self._say, secrets=known
            )
            for provider in providers
            if provider.on and provider.command
        }
        self._state = self._store(environ, config.cache.max_bytes)
        self._meter = self._counter()
        self._workers = workers or config.server.workers
        self.pressure = self._measured()
        self._tasks: list[asyncio.Task[None]] = []
        self._telling: set[asyncio.Task[None]] = set()
        self.gate = gate = self._gate()
        self.upstream = Upstream(
            self._client,
            ready=self._ready,
            sleep=asyncio.sleep,
            jitter=random.Random().random,  # noqa: S311 - spreads retries, guards nothing
            media=self._media(guard),
            hedge={str(tier): wait for tier, wait in config.routing.hedge.items()},
            log=log,
            opened=self.archive.metrics.opened,
        )
        self._watch()
        self.engine = Engine(
            router=site.router,
            upstream=self.upstream,
            cache=self._cache(environ),
            books=Books(
                self.archive.record,
                log,
                settled=self.archive.settled,
                baseline=baseline.baseline(site.source, site.built),
                begin=self.archive.begin,
                settle=gate.settle,
            ),
            log=log,
            on_loss=config.routing.on_loss,
            past=self._past(environ),
            kept=self.archive.kept if config.ledger.content == "on" else None,
            gate=gate,
            pressure=self.pressure,
        )

    def _archive(self, figures: Memory | None) -> Archive:
        source, built = self.site.source, self.site.built
        try:
            return Archive(
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

    async def start(self) -> None:
        """Begin what goes on beside calls."""
        for engine in self._locals.values():
            engine.start()
        self.archive.start()
        await self._settle_dead()
        self._tasks = [
            asyncio.create_task(self.keys.watch(), name="keys"),
            asyncio.create_task(self.gate.keep(asyncio.sleep), name="limits"),
            asyncio.create_task(self.pressure.keep(asyncio.sleep, time.monotonic), name="pressure"),
        ]

    async def stop(self) -> None:
        """End it all; what was begun for calls that have ended is finished first."""
        await self.engine.settle()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.archive.stop()  # first of all that may take its time: rows are what must be kept
        await asyncio.gather(*(engine.stop() for engine in self._locals.values()))
        await self._client.close()
        await self._state.close()
        await self._meter.close()

    def _watch(self) -> None:
        metrics, state = self.archive.metrics, self._state
        metrics.expect(
            (lab.name, tier, target.provider.name, target.model)
            for lab in self.site.built.catalogue.labs.values()
            for tier, targets in lab.tiers.items()
            for target in targets
            if target.provider.on
        )
        metrics.watch(*_measures(self.pressure))
        asks = self.upstream
        metrics.watch(*measures(asks.health, asks.allowances, lambda: asks.hedged))
        if not isinstance(state, Here):
            up = Gauge("redis_up", "Whether Redis answers.", lambda: state.alive, "min")
            metrics.watch([up])

    def _measured(self) -> Pressure:
        """How much this process can take: its part of the memory, and its files."""
        server, group = self.site.source.config.server, machine.Group()
        memory = server.max_memory or machine.physical()
        return Pressure(
            lambda: Sample(machine.resident(), group.reach(), machine.files()),
            memory=None if memory is None else memory // self._workers,
            files=machine.most_files(),
            lag=server.max_lag,
            log=self.log,
            lean=machine.trim,
            chance=random.Random().random,  # noqa: S311 - spreads clients, guards nothing
        )

    async def _ready(self, provider: Provider) -> None:
        engine = self._locals.get(provider.name)
        if engine is not None:
            self._client.bases[provider.name] = await engine.ready()

    def _say(self, text: str) -> None:
        self.log("engine", text=text)

    def _store(self, environ: Mapping[str, str], most: int) -> StateStore:
        url = environ.get("REDIS_URL")
        if not url:
            return Here(most, clock=time.monotonic)
        with self._usable():
            return Redis(url, note=lambda text: self.log("redis", text=text), clock=time.monotonic)

    def _counter(self) -> Meter:
        state = self._state
        return Shared(state) if isinstance(state, Redis) else Counted()

    @contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            text = f"REDIS_URL cannot be used: {error}."
            raise ConfigError([self.site.source.mistake(("cache",), text)]) from None

    def _media(self, guard: media.Guard) -> media.Fetch | None:
        """What fetches media that a request has by URL, where the configuration says so."""
        part = self.site.source.config.media
        if part.fetch == "off":
            return None
        bounds = media.Bounds(
            allow=tuple(part.allow),
            types=frozenset(part.types),
            most=part.max_bytes,
            timeout=part.timeout,
        )
        return media.Fetch(bounds, guard)

    def _gate(self) -> Gate:
        """What counts calls: in Redis where there is one, else in this process."""
        config, zone = self.site.source.config, ZoneInfo(self.site.source.config.ledger.time_zone)
        limits = Limits(config.limits, config.budgets, zone)

        async def seed(tenant: str, need: Need) -> int:
            return await asyncio.to_thread(self._spent, limits.scope(need, tenant))

        return Gate(
            limits,
            self._meter,
            self.log,
            seed=seed,
            alert=self._alert,
            spare=Counted,
            closed=config.on_redis_loss == "closed",
            shares=self._workers,
        )

    def _spent(self, scope: Scope) -> int:
        """Micro-USD that the ledger knows of for a counter that was lost, or is new."""
        self.archive.feed()
        (found,) = self.store.costs(only=scope.only, since=scope.since, until=scope.until)
        known = (found.cost, found.reserved)  # what nobody knows is charged as the most it can be
        return sum(micro(one) for one in known if one is not None)

    async def _settle_dead(self) -> None:
        """Calls that a crash has ended run no more; what is not known of them stays charged.

        To ask at all connects, so that the first calls need not wait for it; where nothing is
        limited nobody is asked.
        """
        config = self.site.source.config
        own = any(key.limits or key.budgets for key in self.keys.known())
        if not (config.limits or config.budgets or own):
            return
        with suppress(Lost):
            await self._meter.used("default")
        ends: dict[str, list[End]] = {}
        for recovered in self._dead:
            for row in (*recovered.entries, *recovered.ended):
                ends.setdefault(row.tenant, []).append(end_of(row))
        for tenant, some in ends.items():
            await self.gate.settle_dead(tenant, some)

    def _alert(self, tenant: str, need: Need) -> None:
        """Tell of a budget that has passed its soft limit; nobody waits."""
        url = self.site.source.config.alerts.webhook
        if not url:
            return
        told = {
            "event": "budget",
            "name": need.name,
            "counter": need.field,
            "tenant": tenant,
            "limit_usd": need.limit / 1_000_000 if need.kind == "usd" else None,
            "soft_usd": need.soft / 1_000_000 if need.kind == "usd" and need.soft else None,
        }

        async def send() -> None:
            status = await tell(url, jsonio.dumps(told))
            if status is None or status >= _REFUSED:
                self.log("alert", name=need.name, status=status)

        task = asyncio.create_task(send())
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    def _cache(self, environ: Mapping[str, str]) -> Exact | None:
        config = self.site.source.config.cache
        if config.ttl <= 0:
            return None
        return Exact(
            self._state,
            secret=secret.derive(secret.root(self.data, environ), "cache"),
            ttl=config.ttl,
            clock=time.time,
            sharing=config.scope,
            sampled=config.sampled,
            note=lambda text: self.log("cache", text=text),
        )

    def _past(self, environ: Mapping[str, str]) -> Past:
        root, ttl = secret.root(self.data, environ), self.site.source.config.responses.ttl
        notes = Notes(self._state, secret=secret.derive(root, "notes"))
        if ttl <= 0:
            return Past(notes)
        kept = Responses(self._state, secret=secret.derive(root, "responses"), ttl=ttl)
        return Past(notes, kept)


def refusals(site: Site, keys: Keys, host: str) -> list[Mistake]:
    """What keeps a valid configuration from starting: open beyond this machine, no lab on."""
    source, labs = site.source, site.built.catalogue.labs.values()
    found = []
    if keys.is_open and host not in _LOOPBACK and not source.config.server.open:
        message = f"`keys: open` would let everybody who reaches {host} spend money."
        hint = "Configure keys, or set server.open to true where something else guards it."
        found.append(source.mistake(("server", "host"), message, hint))
    if not any(lab.on for lab in labs):
        whys = ", ".join(f"{lab.name}: {lab.why}" for lab in labs)
        message = f"no lab is on ({whys})." if whys else "no lab is configured."
        found.append(source.mistake(("labs",), message))
    return found


def store_url(url: str, data: Path) -> str:
    """The store's address, a relative SQLite file taken to lie in the data folder."""
    path = url.removeprefix("sqlite:///")
    if path != url and not os.path.isabs(path):  # noqa: PTH117 - a string, not a path yet
        return f"sqlite:///{data / path}"
    return url


def _measures(pressure: Pressure) -> tuple[list[Gauge], list[Count]]:
    """What of the process is told at /metrics."""
    return [
        Gauge("pressure", "Who is refused: 0 nobody, 3 all.", lambda: pressure.level, "max"),
        Gauge("loop_lag_seconds", "How late the event loop is.", lambda: pressure.late, "max"),
        Gauge("memory_bytes", "Memory in use.", lambda: pressure.seen.memory),
        Gauge("open_files", "Files and sockets that are open.", lambda: pressure.seen.files),
    ], [Count("shed", "Requests refused for want of room.", lambda: pressure.shed)]
