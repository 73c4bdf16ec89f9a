"""One configuration in force: what it was built from, what serves its calls, and how many run."""

from collections.abc import Callable, Mapping

from gateway.core.target import Provider
from gateway.pipeline.engine import Engine
from gateway.runtime.build import BuiltConfig
from gateway.upstream.client import ProviderClient
from gateway.upstream.failover import Upstream
from gateway.upstream.local_engine import LocalEngine as Local


class Revision:
    """Calls that begin with it end with it, also where another has taken its place meanwhile."""

    def __init__(
        self,
        site: BuiltConfig,
        engine: Engine,
        upstream: Upstream,
        client: ProviderClient,
        locally: Mapping[str, Local],
        since: float,
    ) -> None:
        self.site = site
        self.engine = engine
        self.upstream = upstream
        self.client = client
        self.locally = locally
        """Local engines by provider."""
        self.since = since
        """Seconds since the epoch."""
        self.calls = 0
        """Those that run on it."""
        self._over: Callable[[], object] | None = None

    @property
    def version(self) -> str:
        """The configuration's, as it stands on rows."""
        return self.site.built.catalogue.version

    def enter(self) -> Engine:
        """A call begins; `leave` is to be told of its end."""
        self.calls += 1
        return self.engine

    def leave(self) -> None:
        """A call has ended."""
        self.calls -= 1
        if not self.calls and (over := self._over) is not None:
            self._over = None  # it knows this one: the two would hold each other
            over()

    def retire(self, over: Callable[[], object]) -> None:
        """No call begins any more: `over` is called when the last one has ended."""
        if self.calls:
            self._over = over
        else:
            over()


def same(one: Provider, other: Provider | None) -> bool:
    """Whether what is known of a provider is true of another: whoever is asked, by whom and how."""
    return other is not None and _asked(one) == _asked(other)


def _asked(one: Provider) -> tuple[object, ...]:
    return (
        one.doors, one.auth, one.accounts, one.headers, one.proxy, one.transport, one.command,
        one.on,
    )  # fmt: skip
