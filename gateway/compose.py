"""A configuration put together into a running gateway: the only place that chooses its parts."""

import asyncio
import os
import random
import secrets
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from gateway.cache.exact import Exact
from gateway.cache.note import Notes
from gateway.cache.responses import Responses
from gateway.core.target import Provider
from gateway.dialects import DIALECTS
from gateway.dialects.anthropic_messages import effort as messages
from gateway.dialects.gemini import effort as gemini
from gateway.dialects.openai_chat import effort as chat
from gateway.dialects.openai_responses import effort as responses
from gateway.engine import Engine
from gateway.ledger.journal import Journal, JournalError
from gateway.ledger.recovery import recover
from gateway.ledger.store import Store
from gateway.limits import keys
from gateway.limits.keys import Keys
from gateway.past import Past
from gateway.routing.decide import Router
from gateway.routing.prior import Prior
from gateway.routing.rules import RuleError, Rules, compile_rules
from gateway.settings import build, check, dates, prices
from gateway.settings.build import Built
from gateway.settings.load import Source
from gateway.settings.mistake import ConfigError, Mistake
from gateway.state import Store as StateStore
from gateway.state import secret
from gateway.state.memory import Memory
from gateway.telemetry.log import Log
from gateway.upstream.attempt import Upstream
from gateway.upstream.child import Engine as Local
from gateway.upstream.client import Client, Transports

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_FEED_EVERY = 2.0
"""Seconds between feeds of the store from the journals."""


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
    mistakes += _zone(source)
    rules = Rules()
    try:
        rules = compile_rules(source.config.guards, source.config.choices)
    except RuleError as error:
        mistakes += [source.mistake(one.path, f"{one}.") for one in error.every]
    if mistakes:
        raise ConfigError(mistakes)
    built = build.build(source, lambda provider, model: prices.find(provider, model, now))
    classifier = Prior() if source.config.routing.classifier == "prior" else None
    router = Router(catalogue=built.catalogue, rules=rules, classifier=classifier)
    off = frozenset(name for name, provider in built.providers.items() if not provider.on)
    warnings = (
        *check.warnings(source, now.date(), STYLES, off),
        *_unpriced(source, built),
        *dates.listed(source, built.catalogue, now.date()),
    )
    return Site(source=source, built=built, router=router, warnings=warnings)


def _zone(source: Source) -> list[Mistake]:
    name = source.config.ledger.time_zone
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        message = f"no time zone {name!r}."
        return [source.mistake(("ledger", "time_zone"), message, "Write it as Europe/Berlin.")]
    return []


def _unpriced(source: Source, built: Built) -> list[Mistake]:
    found = []
    for path, lab, tier, _, _ in check.targets(source):
        target = built.catalogue.labs[lab].tiers[tier][int(path[-1])]
        if target.provider.on and target.price is None:
            message = f"the price of {target.name} is unknown: its calls have no cost."
            hint = "Give it one under `models`."
            found.append(source.mistake((*path, "model"), message, hint, warn=True))
    return found


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
    ) -> None:
        config = site.source.config
        self.site = site
        self.log = log
        self.data = data_folder(environ)
        self.keys: Keys = keys.load(
            config.keys, site.source.file.parent, environ.get("TIERGATE_KEYS", "")
        )
        refused = refusals(site, self.keys, host or config.server.host)
        if refused:
            raise ConfigError(refused)
        self.journal_folder = self.data / config.ledger.journal
        self.journal = Journal(self.journal_folder)
        self.recovered = recover(self.journal)
        self.store = Store(store_url(config.ledger.store, self.data))
        self._client = Client(transports, hop=secrets.token_hex(4))
        self._locals = {
            provider.name: Local(provider, self.data / f"{provider.name}.log", self._say)
            for provider in site.built.providers.values()
            if provider.on and provider.command
        }
        self._state = self._store(environ, config.cache.max_bytes)
        self.engine = Engine(
            router=site.router,
            upstream=Upstream(
                self._client,
                ready=self._ready,
                sleep=asyncio.sleep,
                jitter=random.Random().random,  # noqa: S311 - spreads retries, guards nothing
            ),
            cache=self._cache(environ),
            record=self.journal.write,
            log=log,
            on_loss=config.routing.on_loss,
            past=self._past(environ),
        )
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin what goes on beside calls."""
        for engine in self._locals.values():
            engine.start()
        self._tasks = [
            asyncio.create_task(self.journal.keep(asyncio.sleep, self._unsynced), name="sync"),
            asyncio.create_task(self._every(_FEED_EVERY, self._feed), name="feed"),
        ]

    async def stop(self) -> None:
        """End it all; what was begun for calls that have ended is finished first."""
        await self.engine.settle()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(engine.stop() for engine in self._locals.values()))
        await self._client.close()
        await self._state.close()
        self.journal.close()
        try:
            self._feed()
        except Exception as error:  # noqa: BLE001 - the next start feeds it
            self.log("ledger", error=type(error).__name__)

    def _unsynced(self, error: JournalError) -> None:
        self.log("ledger", error=error.strerror)

    def _feed(self) -> None:
        self.store.feed(self.journal_folder)

    async def _every(self, seconds: float, work: Callable[[], object]) -> None:
        """Do some work off the loop again and again; a failure is logged and tried again."""
        while True:
            await asyncio.sleep(seconds)
            try:
                await asyncio.to_thread(work)
            except Exception as error:  # noqa: BLE001 - work beside calls must not end
                self.log("ledger", error=type(error).__name__)

    async def _ready(self, provider: Provider) -> None:
        engine = self._locals.get(provider.name)
        if engine is not None:
            self._client.bases[provider.name] = await engine.ready()

    def _say(self, text: str) -> None:
        self.log("engine", text=text)

    def _store(self, environ: Mapping[str, str], most: int) -> StateStore:
        url = environ.get("REDIS_URL")
        if url:
            from gateway.state.redis import Redis  # noqa: PLC0415 - takes 0.2 s, few need it

            try:
                return Redis(
                    url, note=lambda text: self.log("redis", text=text), clock=time.monotonic
                )
            except ValueError as error:
                mistake = self.site.source.mistake(
                    ("cache",), f"REDIS_URL cannot be used: {error}."
                )
                raise ConfigError([mistake]) from None
        return Memory(most, clock=time.monotonic)

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
