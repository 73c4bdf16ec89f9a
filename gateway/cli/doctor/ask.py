"""Check that targets answer: send each one tiny request."""

import asyncio
import time
from collections.abc import Callable
from decimal import Decimal

from gateway.cli.doctor.environment import DoctorFinding, Level
from gateway.cli.session import CommandSession
from gateway.cli.terminal import format_upper_bound, format_usd, progress
from gateway.upstream import probe
from gateway.upstream.credentials.cloud_credentials import CloudCredentials
from gateway.upstream.probe import ProbeResult, ProbeTarget

_PRICE_HINT = "Give it a price under `models`."


def ask_targets(
    session: CommandSession, max_usd: Decimal, wall_clock: Callable[[], float] = time.time
) -> list[DoctorFinding]:
    """Send one tiny request to each target. All requests together may cost `max_usd` USD."""
    affordable, skipped_findings = _select_affordable(
        [*probe.list_targets(session.built_config.built_catalogue.catalogue)], max_usd, wall_clock()
    )
    with progress("asking", len(affordable)) as step:
        credentials = CloudCredentials(session.environ)
        results = asyncio.run(probe.run_probes(affordable, credentials=credentials, tick=step))
    findings = [*map(_make_probe_finding, results), *skipped_findings]
    if not findings:
        return [
            DoctorFinding(
                "ok", "targets", "no target is on, except those that the gateway starts itself"
            )
        ]
    costs = [result.usd for result in results if result.usd is not None]
    if costs:
        findings.append(
            DoctorFinding(
                "ok", "targets", f"the test calls cost {format_usd(sum(costs, Decimal(0)))} USD"
            )
        )
    return findings


def _select_affordable(
    candidates: list[ProbeTarget], max_usd: Decimal, timestamp: float
) -> tuple[list[ProbeTarget], list[DoctorFinding]]:
    """Select the targets to ask for `max_usd` USD together, and make findings of the others."""
    affordable, findings, total = [], [], Decimal(0)
    for target in candidates:
        cost_bound = target.compute_max_cost(timestamp)
        if cost_bound is None:
            message = f"doctor does not call {target.name}: its price is unknown."
            findings.append(
                DoctorFinding(
                    "warning", "targets", message, _PRICE_HINT, where=f"models.{target.name}.price"
                )
            )
        elif total + cost_bound > max_usd:
            message = (
                f"doctor does not call {target.name}: the call may cost "
                f"{format_upper_bound(cost_bound)} USD."
            )
            hint = "Allow more with --most."
            fix = f"tiergate doctor --ask --most {format_upper_bound(total + cost_bound)}"
            findings.append(
                DoctorFinding("warning", "targets", message, hint, where="--most", fix=fix)
            )
        else:
            total += cost_bound
            affordable.append(target)
    return affordable, findings


def _make_probe_finding(result: ProbeResult) -> DoctorFinding:
    if result.problem is None:
        return DoctorFinding(
            "ok", "targets", f"{result.probe_target.name} answers in {result.seconds * 1e3:,.0f} ms"
        )
    level: Level = "error" if result.problem.kind == "upstream_auth" else "warning"
    message = f"{result.probe_target.name} does not answer: {result.problem.message}"
    hint = "The next target of its tier serves its calls."
    provider_name, _, _ = result.probe_target.name.partition("/")
    fix = "tiergate check" if level == "error" else "tiergate doctor --ask"
    return DoctorFinding(
        level, "targets", message, hint, where=f"providers.{provider_name}", fix=fix
    )
