"""A revision: one configuration in force, the parts that serve its calls, and their count."""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from gateway.core.target import Provider
from gateway.pipeline.engine import Engine
from gateway.pipeline.passthrough.engine import PassThroughEngine
from gateway.runtime.build import BuiltConfig
from gateway.upstream.client import ProviderClient
from gateway.upstream.failover import Upstream
from gateway.upstream.local_engine import LocalEngine

if TYPE_CHECKING:
    from gateway.pipeline.realtime.engine import RealtimeEngine


class Revision:
    """One configuration in force. Calls that begin with it end with it, even after a reload."""

    def __init__(
        self,
        built_config: BuiltConfig,
        engine: Engine,
        passthrough: PassThroughEngine,
        upstream: Upstream,
        client: ProviderClient,
        local_engines: Mapping[str, LocalEngine],
        since: float,
        make_realtime: "Callable[[], RealtimeEngine]",
    ) -> None:
        """`make_realtime` makes the engine of sessions when the first one begins."""
        self.built_config = built_config
        self.engine = engine
        self.passthrough = passthrough
        self.upstream = upstream
        self.client = client
        self.local_engines = local_engines
        """Local engines, by provider."""
        self.since = since
        """The time when it came into force, in seconds since the epoch."""
        self._make_realtime = make_realtime
        self.calls = 0
        """The number of calls that run on it."""
        self._on_end: Callable[[], object] | None = None

    @property
    def version(self) -> str:
        """The version of the configuration, as shown on rows."""
        return self.built_config.built_catalogue.catalogue.version

    @cached_property
    def realtime(self) -> "RealtimeEngine":
        """The engine of Realtime and Live sessions."""
        return self._make_realtime()

    def enter(self) -> Engine:
        """Count a call that begins, and return its engine. The caller must `leave` at its end."""
        self.calls += 1
        return self.engine

    def leave(self) -> None:
        """Count a call that has ended; the last call of a retired revision closes it."""
        self.calls -= 1
        if not self.calls and (on_end := self._on_end) is not None:
            self._on_end = None  # it refers to this revision: break the reference cycle
            on_end()

    def retire(self, on_end: Callable[[], object]) -> None:
        """Retire the revision: no call begins on it, and `on_end` runs when its last call ends."""
        if self.calls:
            self._on_end = on_end
        else:
            on_end()


def is_same_provider(provider: Provider, other_provider: Provider | None) -> bool:
    """Return True if two providers have the same addresses, accounts and connection settings.

    The gateway's knowledge of the one then holds for the other too.
    """
    return other_provider is not None and _get_connection_settings(
        provider
    ) == _get_connection_settings(other_provider)


def _get_connection_settings(provider: Provider) -> tuple[object, ...]:
    return (
        provider.urls, provider.auth, provider.cloud_auth, provider.accounts, provider.headers,
        provider.proxy, provider.transport, provider.command, provider.enabled, provider.variant,
    )  # fmt: skip
