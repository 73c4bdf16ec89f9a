"""The findings of a live check: what differs for each target, and a summary with the cost."""

from collections.abc import Iterable, Iterator
from decimal import Decimal
from pathlib import Path

from gateway.cli.doctor.environment import DoctorFinding, Level
from gateway.cli.doctor.live.checks import Deviation, compute_probe_cost
from gateway.cli.doctor.live.probes import ProbeName
from gateway.cli.doctor.live.recording import JudgedProbe
from gateway.cli.doctor.live.redaction import RecordingRedactor
from gateway.cli.doctor.live.run import AFTER_FAILURE, UNKNOWN_PRICE, LiveReport, SkippedProbe
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
    report: LiveReport,
    all_series: Iterable[ProbeSeries],
    budget_usd: Decimal,
    recording: Path,
    redactor: RecordingRedactor,
) -> Iterator[DoctorFinding]:
    """List what differs for each target, what was not sent, and the summary."""
    for series in all_series:
        judged = [item for item in report.judged if item.outcome.series is series]
        skipped = [item for item in report.skipped if item.series is series]
        yield from _list_deviations(series, judged, redactor)
        as_expected = [item for item in judged if not item.deviations]
        if as_expected:
            yield DoctorFinding("ok", _WHAT, f"{series.name} {_describe_answers(as_expected)}")
        yield from _list_skipped(series, skipped)
    yield _make_summary(report, budget_usd)
    if report.judged:
        yield DoctorFinding(
            "ok", _WHAT, f"the recording is {recording}: read it before you send it to anybody"
        )


def _list_deviations(
    series: ProbeSeries, judged: list[JudgedProbe], redactor: RecordingRedactor
) -> Iterator[DoctorFinding]:
    """List each deviation once, with the probes in which it is."""
    names: dict[tuple[Deviation, ProblemKind | None], list[str]] = {}
    for item in judged:
        problem = item.outcome.problem
        for deviation in item.deviations:
            kind = problem.kind if problem is not None and deviation.is_problem else None
            names.setdefault((deviation, kind), []).append(
                _name_probe(series, item.outcome.probe.name)
            )
    for (deviation, kind), probe_names in names.items():
        text = f"{series.name} {', '.join(dict.fromkeys(probe_names))}: {deviation.text}"
        message = make_printable(redactor.mask_error(text.encode()).decode())
        full_stop = "" if message.endswith(".") else "."
        hint = _SEND_HINT if kind is None else _HINTS.get(kind, _SEND_HINT)
        where = _find_place(series, kind)
        yield DoctorFinding(deviation.level, _WHAT, f"{message}{full_stop}", hint, where=where)


def _name_probe(series: ProbeSeries, name: ProbeName) -> str:
    """Return the name of a probe in the report."""
    return f"effort {series.candidate.target.effort}" if name == "effort" else name


def _find_place(series: ProbeSeries, kind: ProblemKind | None) -> str:
    """Return the path in the configuration that a finding is about."""
    target = series.candidate.target
    if kind == "upstream_model":
        return f"labs.{series.lab}.{series.tier}"
    account_path = f".accounts.{series.candidate.account.name}" if kind == "upstream_auth" else ""
    return f"providers.{target.provider.name}{account_path}"


def _describe_answers(judged: list[JudgedProbe]) -> str:
    """Describe answers that are as expected."""
    series = judged[0].outcome.series
    names = ", ".join(_name_probe(series, item.outcome.probe.name) for item in judged)
    usages = [item.outcome.usage for item in judged if not item.outcome.probe.is_left]
    tokens_in = sum(usage.prompt or 0 for usage in usages if usage is not None)
    tokens_out = sum(usage.completion or 0 for usage in usages if usage is not None)
    costs = [compute_probe_cost(item.outcome).usd for item in judged]
    usd = sum((cost for cost in costs if cost is not None), Decimal(0))
    seconds = max(item.outcome.seconds for item in judged)
    return (
        f"{names}: as expected; {tokens_in:,} tokens in, {tokens_out:,} out, {format_usd(usd)} "
        f"USD, {seconds:.1f} s at most"
    )


def _list_skipped(series: ProbeSeries, skipped: list[SkippedProbe]) -> Iterator[DoctorFinding]:
    """List the probes that were not sent, in a line for each reason."""
    names: dict[str, list[str]] = {}
    for item in skipped:
        names.setdefault(item.reason, []).append(_name_probe(series, item.name))
    for reason, probe_names in names.items():
        message = f"{series.name} {', '.join(probe_names)}: not sent, as {reason}."
        if reason == AFTER_FAILURE:
            hint, where = "The line of that probe says why.", _find_place(series, None)
        elif reason == UNKNOWN_PRICE:
            hint = "Give the model a price under `models`, or add --unpriced."
            where = f"models.{series.candidate.target.model}.price"
        else:
            hint, where = "Allow more with --budget.", "--budget"
        yield DoctorFinding("warning", _WHAT, message, hint, where=where)


def _make_summary(report: LiveReport, budget_usd: Decimal) -> DoctorFinding:
    levels = [find_level(item.deviations) for item in report.judged]
    cost = f"{format_usd(report.known_usd)} USD"
    if report.charged_usd > report.known_usd:
        cost += f", and with what is unknown at most {format_upper_bound(report.charged_usd)} USD"
    unpriced_note = (
        f"; {report.unpriced} more have no price, and nothing bounds their cost"
        if report.unpriced
        else ""
    )
    message = (
        f"{len(levels)} probes sent, {levels.count('warning')} differ, {levels.count('error')} "
        f"failed, {len(report.skipped)} not sent; cost: {cost}, of {format_usd(budget_usd)} USD "
        f"allowed{unpriced_note}"
    )
    return DoctorFinding("ok", _WHAT, message)


def find_level(deviations: list[Deviation]) -> Level:
    """Return the worst level of some deviations."""
    levels = {item.level for item in deviations}
    return "error" if "error" in levels else "warning" if levels else "ok"
