"""The findings of a live check, a line for each probe, and a summary with the cost."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

from gateway.cli.doctor.environment import DoctorFinding, Level
from gateway.cli.doctor.live.checks import Deviation, compute_probe_cost
from gateway.cli.doctor.live.recording import JudgedProbe
from gateway.cli.doctor.live.redaction import RecordingRedactor
from gateway.cli.doctor.live.run import OVER_BUDGET, UNKNOWN_PRICE, LiveReport
from gateway.cli.doctor.live.series import ProbeSeries
from gateway.cli.terminal import format_upper_bound, format_usd
from gateway.core.errors import ProblemKind
from gateway.core.printable_text import make_printable

_WHAT = "live"
_SEND_HINT = "Send us the recording: docs/first-contact.md says how."
_HINTS: dict[ProblemKind, str] = {
    "upstream_auth": "Check the key of this account, and what it may do at the provider.",
    "upstream_model": "Look up the models that the key may use, and change the name under `labs`.",
    "upstream_rate_limited": "Wait, and run this again with --lab for this lab alone.",
    "upstream_unreachable": "Check `base_url`, the network and the proxy.",
}


def list_findings(
    report: LiveReport, budget_usd: Decimal, recording: Path, redactor: RecordingRedactor
) -> Iterator[DoctorFinding]:
    """List a finding for each probe, one for those that were not sent, and the summary."""
    for judged in report.judged:
        yield _make_probe_finding(judged, redactor)
    yield from _list_skipped(report)
    yield _make_summary(report, budget_usd)
    if report.judged:
        yield DoctorFinding(
            "ok", _WHAT, f"the recording is {recording}: read it before you send it to anybody"
        )


def _make_probe_finding(judged: JudgedProbe, redactor: RecordingRedactor) -> DoctorFinding:
    outcome = judged.outcome
    name = f"{outcome.series.name} {outcome.probe.name}"
    if not judged.deviations:
        return DoctorFinding("ok", _WHAT, f"{name}: {_describe_answer(judged)}")
    text = "; ".join(item.text for item in judged.deviations)
    message = make_printable(redactor.mask_error(f"{name}: {text}".encode()).decode())
    kind = outcome.problem.kind if outcome.problem is not None else None
    hint = _SEND_HINT if kind is None else _HINTS.get(kind, _SEND_HINT)
    where = outcome.series.provider_path
    if kind == "upstream_model":
        where = f"labs.{outcome.series.lab}.{outcome.series.tier}"
    elif kind == "upstream_auth":
        where = f"{where}.accounts.{outcome.series.candidate.account.name}"
    full_stop = "" if message.endswith(".") else "."
    return DoctorFinding(
        _find_level(judged.deviations), _WHAT, f"{message}{full_stop}", hint, where=where
    )


def _find_level(deviations: list[Deviation]) -> Level:
    return "error" if any(item.level == "error" for item in deviations) else "warning"


def _describe_answer(judged: JudgedProbe) -> str:
    """Describe an answer that is as expected."""
    outcome, usage = judged.outcome, judged.outcome.usage
    if outcome.probe.is_left:
        return f"left after the first content, in {outcome.seconds:.1f} s"
    parts = []
    if usage is not None:
        parts.append(f"{usage.prompt or 0:,} tokens in, {usage.completion or 0:,} out")
    parts.append(f"{format_usd(compute_probe_cost(outcome).usd)} USD, {outcome.seconds:.1f} s")
    return ", ".join(parts)


def _list_skipped(report: LiveReport) -> Iterator[DoctorFinding]:
    """List the probes that were not sent, in a line for each series and reason."""
    names: dict[tuple[str, str], list[str]] = {}
    series_by_name: dict[str, ProbeSeries] = {}
    for item in report.skipped:
        names.setdefault((item.series.name, item.reason), []).append(item.name)
        series_by_name[item.series.name] = item.series
    for (series_name, reason), probe_names in names.items():
        series = series_by_name[series_name]
        message = f"{series_name}: {', '.join(probe_names)} not sent: {reason}."
        if reason == UNKNOWN_PRICE:
            hint = "Give the model a price under `models`, or add --unpriced."
            where = f"models.{series.candidate.target.model}.price"
        elif reason == OVER_BUDGET:
            hint, where = "Allow more with --budget.", "--budget"
        else:
            hint, where = "The line of that probe says why.", series.provider_path
        yield DoctorFinding("warning", _WHAT, message, hint, where=where)


def _make_summary(report: LiveReport, budget_usd: Decimal) -> DoctorFinding:
    differing = [item for item in report.judged if item.deviations]
    failed = sum(_find_level(item.deviations) == "error" for item in differing)
    cost = f"{format_usd(report.known_usd)} USD"
    if report.charged_usd > report.known_usd:
        cost += f", and with what is unknown at most {format_upper_bound(report.charged_usd)} USD"
    unpriced_note = (
        f"; {report.unpriced} more have no price, and nothing bounds their cost"
        if report.unpriced
        else ""
    )
    message = (
        f"{len(report.judged)} probes sent, {len(differing) - failed} differ, {failed} failed, "
        f"{len(report.skipped)} not sent; cost: {cost}, of {format_usd(budget_usd)} USD allowed"
        f"{unpriced_note}"
    )
    return DoctorFinding("ok", _WHAT, message)
