"""The engine of Realtime and Live sessions, made where a configuration has its first session."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from gateway.core.clocks import Clocks
from gateway.core.target import Provider
from gateway.limits.limiter import Limiter
from gateway.pipeline.accounting import CallRecorder
from gateway.pipeline.context import ContextLoader
from gateway.pipeline.passthrough.objects import ObjectGuard
from gateway.routing.router import Router
from gateway.settings.schema.root import RealtimePart
from gateway.telemetry.log import Log
from gateway.upstream.client import ProviderClient

if TYPE_CHECKING:
    from gateway.pipeline.realtime.engine import RealtimeEngine


def make_engine(  # noqa: PLR0913 - its parts
    part: RealtimePart,
    *,
    router: Router,
    context_loader: ContextLoader,
    recorder: CallRecorder,
    limiter: Limiter,
    objects: ObjectGuard,
    client: ProviderClient,
    wait_until_ready: Callable[[Provider], Awaitable[None]],
    flush_rows: Callable[[], bool],
    log: Log,
    clocks: Clocks,
) -> "RealtimeEngine":
    """Return the engine of a configuration."""
    # Only gateways with sessions import what speaks WebSocket: it takes 23 ms.
    from gateway.pipeline.realtime.engine import RealtimeEngine  # noqa: PLC0415
    from gateway.pipeline.realtime.session import SessionBounds  # noqa: PLC0415

    return RealtimeEngine(
        SessionBounds(**part.model_dump()),
        router=router,
        context_loader=context_loader,
        recorder=recorder,
        limiter=limiter,
        objects=objects,
        client=client,
        wait_until_ready=wait_until_ready,
        flush_rows=flush_rows,
        log=log,
        clocks=clocks,
    )
