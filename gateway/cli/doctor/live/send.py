"""Send one probe as the gateway sends a call, and keep its outcome."""

import asyncio
import time
from collections.abc import Callable

import msgspec

from gateway.cli.doctor.live.probes import Probe, build_request
from gateway.cli.doctor.live.series import ProbeSeries
from gateway.core.call import Call
from gateway.core.decision import Plan
from gateway.core.errors import Problem, ProblemError
from gateway.core.usage import Usage
from gateway.dialects import TranslatableRequest
from gateway.upstream.client import ProviderClient
from gateway.upstream.connection_pools import ConnectionPools
from gateway.upstream.credentials.cloud_credentials import CloudCredentials
from gateway.upstream.http1.recording_transport import RecordedExchange, RecordingTransport
from gateway.upstream.probe import ProbeAccount, build_probe_runner
from gateway.upstream.relay import get_inspector, iterate_frames
from gateway.upstream.upstream_request import UpstreamRequest, UpstreamResponse

_TIMEOUT_SECONDS = 60.0
"""Seconds until an answer must be whole."""


class ProbeOutcome(msgspec.Struct, eq=False):
    """A sent probe: the exchange with the provider, and what the gateway read of the answer."""

    series: ProbeSeries
    probe: Probe
    exchange: RecordedExchange
    sent_at: float
    """The time when it was sent, in seconds since the epoch."""
    seconds: float = 0.0
    """Seconds until the answer was whole, had failed, or the gateway had left."""
    problem: Problem | None = None
    usage: Usage | None = None
    served_model: str | None = None


class ProbeSender:
    """A sender of probes. All share the connections of `pools`."""

    def __init__(
        self,
        pools: ConnectionPools,
        credentials: CloudCredentials | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._pools = pools
        self._credentials = credentials
        self._wall_clock = wall_clock

    async def send(self, series: ProbeSeries, probe: Probe) -> ProbeOutcome:
        """Send a probe once, and read its answer."""
        exchange = RecordedExchange()
        client = ProviderClient(
            lambda provider: RecordingTransport(self._pools(provider), exchange),
            credentials=self._credentials,
        )
        attempt_runner = build_probe_runner(client, self._wall_clock)
        clock = asyncio.get_running_loop().time
        started_at, sent_at = clock(), self._wall_clock()
        outcome = ProbeOutcome(series, probe, exchange, sent_at)
        request = _build_upstream_request(series, probe, started_at, sent_at)
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                response = await attempt_runner.send_once(request, series.candidate)
                await _read_answer(response, outcome)
        except ProblemError as error:
            outcome.problem = error.problem
            outcome.usage = outcome.usage or error.problem.usage
        except TimeoutError:
            message = f"The answer was not whole after {_TIMEOUT_SECONDS:.0f} seconds."
            outcome.problem = Problem(kind="upstream_timeout", message=message, spent="maybe")
        except Exception as error:  # noqa: BLE001 - no answer of a provider may end the check
            message = f"The gateway itself fails on this answer ({type(error).__name__})."
            outcome.problem = Problem(kind="internal", message=message, spent="maybe")
        outcome.seconds = clock() - started_at
        return outcome


async def _read_answer(response: UpstreamResponse, outcome: ProbeOutcome) -> None:
    """Read the rest of an answer; leave a stream early if the probe says so."""
    if response.summary is not None:
        outcome.usage, outcome.served_model = response.summary.usage, response.summary.served_model
        return
    inspector = get_inspector(response)
    frames = iterate_frames(response, inspector)
    try:
        async for _ in frames:
            if outcome.probe.is_left:
                break
    finally:
        await frames.aclose()
        await response.provider_response.close()
        outcome.usage, outcome.served_model = inspector.usage, inspector.served_model


def _build_upstream_request(
    series: ProbeSeries, probe: Probe, started_at: float, sent_at: float
) -> UpstreamRequest:
    dialect, candidate = series.client_dialect, series.candidate
    body = build_request(probe, dialect, candidate.target)
    call = Call(
        id="doctor", dialect=dialect.name, operation=probe.operation, body=body.raw,
        headers=dict(dialect.default_headers), received_at=sent_at, started_at=0.0,
    )  # fmt: skip
    return UpstreamRequest(
        call=call,
        call_account=ProbeAccount(call, ""),
        body=body,
        translatable=TranslatableRequest(dialect, body),
        dialect=dialect,
        plan=Plan(targets=(candidate.target,), dialects=(candidate.dialect_name,)),
        tier=series.tier,
        lab=series.lab,
        started_at=started_at,
        client_deadline=started_at + _TIMEOUT_SECONDS,
    )
