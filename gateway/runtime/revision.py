"""One configuration in force: what it was built from, what serves its calls, and how many run."""

from collections.abc import Callable, Mapping

from gateway.core.target import Provider
from gateway.pipeline.engine import Engine
from gateway.runtime.build import BuiltConfig
from gateway.upstream.client import ProviderClient
from gateway.upstream.failover import Upstream
from gateway.upstream.local_engine import LocalEngine


class Revision:
    """Calls that begin with it end with it, also where another has taken its place meanwhile."""

    def __init__(
        self,
        built_config: BuiltConfig,
        engine: Engine,
        upstream: Upstream,
        client: ProviderClient,
        local_engines: Mapping[str, LocalEngine],
        since: float,
    ) -> None:
        self.built_config = built_config
        self.engine = engine
        self.upstream = upstream
        self.client = client
        self.local_engines = local_engines
        """Local engines by provider."""
        self.since = since
        """Seconds since the epoch."""
        self.calls = 0
        """Those that run on it."""
        self._on_end: Callable[[], object] | None = None

    @property
    def version(self) -> str:
        """The configuration's, as it stands on rows."""
        return self.built_config.built_catalogue.catalogue.version

    def enter(self) -> Engine:
        """A call begins; `leave` is to be told of its end."""
        self.calls += 1
        return self.engine

    def leave(self) -> None:
        """A call has ended."""
        self.calls -= 1
        if not self.calls and (on_end := self._on_end) is not None:
            self._on_end = None  # it knows this one: the two would hold each other
            on_end()

    def retire(self, on_end: Callable[[], object]) -> None:
        """No call begins any more: `on_end` is called when the last one has ended."""
        if self.calls:
            self._on_end = on_end
        else:
            on_end()


def is_same_provider(provider: Provider, other_provider: Provider | None) -> bool:
    """Whether what is known of a provider is true of another: whoever is asked, by whom and how."""
    return other_provider is not None and _get_connection_settings(
        provider
    ) == _get_connection_settings(other_provider)


def _get_connection_settings(provider: Provider) -> tuple[object, ...]:
    return (
        provider.urls, provider.auth, provider.accounts, provider.headers, provider.proxy,
        provider.transport, provider.command, provider.enabled,
    )  # fmt: skip
