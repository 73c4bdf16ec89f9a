"""Start a live check from the command line: the list with its greatest cost, then the probes."""

import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import click
import msgspec

from gateway.cli.doctor.environment import DoctorFinding
from gateway.cli.doctor.live.recording import create_recording, write_recording
from gateway.cli.doctor.live.redaction import RecordingRedactor, list_providers
from gateway.cli.doctor.live.report import list_findings
from gateway.cli.doctor.live.run import LiveCheck
from gateway.cli.doctor.live.send import ProbeSender
from gateway.cli.doctor.live.series import (
    ProbeSeries,
    TargetPlace,
    find_model_places,
    list_places,
    list_series,
)
from gateway.cli.session import CommandSession
from gateway.cli.spending import RunBudget
from gateway.cli.terminal import TableColumn, format_upper_bound, print_table, progress
from gateway.core.target import Catalogue
from gateway.settings.data_folder import find_data_folder
from gateway.settings.errors import suggest_name
from gateway.upstream.connection_pools import ConnectionPools
from gateway.upstream.credentials.cloud_credentials import CloudCredentials

_FOLDER_NAME = "recordings"
_COLUMNS = (
    TableColumn("target"),
    TableColumn("dialect"),
    TableColumn("probes"),
    TableColumn("at most USD", numeric=True),
)


class LiveOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a live check."""

    budget: Decimal
    labs: tuple[str, ...] = ()
    tiers: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    """Names of models to probe in place of those of labs."""
    record: Path | None = None
    sends_unpriced: bool = False
    is_confirmed: bool = False
    """True if the check asks nothing before it begins."""
    is_quiet: bool = False
    """True if nothing may be printed but the findings."""


def check_live(session: CommandSession, options: LiveOptions) -> list[DoctorFinding]:
    """Probe the chosen targets, write the recording, and return the findings."""
    catalogue = session.built_config.built_catalogue.catalogue
    for name in options.labs:
        if name not in catalogue.labs:
            hint = suggest_name(name, catalogue.labs)
            message = f"No lab is called {name!r}. {hint}".rstrip()
            raise click.BadParameter(message, param_hint="'--lab'")
    places = [place for name in options.models for place in _find_model(catalogue, name)]
    if not options.models:
        places = [*list_places(catalogue, options.labs, options.tiers)]
    all_series = [*list_series(places, time.time())]
    if not all_series:
        message = "no target is on that the options choose."
        hint = "`tiergate check` names the credential that turns a lab on."
        return [DoctorFinding("warning", "live", message, hint, where="labs", fix="tiergate check")]
    if not options.is_quiet:
        _print_list(all_series, options.budget)
    if not options.is_confirmed and not options.is_quiet and is_terminal():
        click.confirm("Send these probes?", abort=True)
    providers = list_providers(catalogue)
    redactor = RecordingRedactor(
        providers, {series.candidate.target.model for series in all_series}
    )
    file = options.record or _name_recording(session)
    pools, credentials = ConnectionPools(), CloudCredentials(session.environ)
    budget = RunBudget(options.budget)
    sender = ProbeSender(pools, credentials)
    check = LiveCheck(sender, budget, sends_unpriced=options.sends_unpriced)
    create_recording(file)
    try:
        with progress("probing", sum(len(series.planned) for series in all_series)) as step:
            asyncio.run(_run(check, all_series, (pools, credentials), step))
    finally:
        if check.report.judged:
            write_recording(file, check.report.judged, redactor)
        else:
            file.unlink()
    return [*list_findings(check.report, all_series, options.budget, file, redactor)]


def _find_model(catalogue: Catalogue, name: str) -> list[TargetPlace]:
    places = find_model_places(catalogue, name)
    if not places:
        message = f"No provider that is on serves {name!r}: `tiergate models {name}` says why."
        raise click.BadParameter(message, param_hint="'--model'")
    return places


def is_terminal() -> bool:
    """Return True if somebody can answer a question."""
    return sys.stdin.isatty()


async def _run(
    check: LiveCheck,
    all_series: Sequence[ProbeSeries],
    parts: Sequence[ConnectionPools | CloudCredentials],
    tick: Callable[[], None],
) -> None:
    try:
        await check.run(all_series, tick)
    finally:
        for part in parts:
            await part.close()


def _name_recording(session: CommandSession) -> Path:
    now = datetime.now(UTC)
    folder = find_data_folder(session.environ) / _FOLDER_NAME
    return folder / f"doctor-{now:%Y%m%dT%H%M%SZ}.jsonl"


def _print_list(all_series: Sequence[ProbeSeries], budget: Decimal) -> None:
    """Print what may be sent, with the most that it may cost."""
    rows, total = [], Decimal(0)
    for series in all_series:
        bounds = [planned.max_usd for planned in series.planned]
        known_bounds = [usd for usd in bounds if usd is not None]
        total += sum(known_bounds, Decimal(0))
        is_known = len(known_bounds) == len(bounds)
        rows.append(
            (
                series.candidate.target.name,
                series.dialect.name,
                " ".join(planned.probe.name for planned in series.planned),
                format_upper_bound(sum(known_bounds, Decimal(0))) if is_known else "unknown",
            )
        )
    note = (
        f"Most probes cost far less than they may. Before each one, its greatest cost must be left "
        f"of the budget of {budget} USD."
    )
    print_table(_COLUMNS, rows, total=("all", "", "", format_upper_bound(total)), notes=[note])
    click.echo()
