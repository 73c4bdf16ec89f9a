"""`tiergate ledger`: checks journals and sums, and rebuilds the store from the journals."""

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import click

from gateway.cli.app import CommandGroup
from gateway.cli.key_clients import find_user
from gateway.cli.ledger_session import LedgerPlace, is_missing
from gateway.cli.session import CommandSession, pass_session
from gateway.cli.terminal import count_progress, format_count
from gateway.core import jsonio
from gateway.core.ledger_rows import DamagedRow
from gateway.ledger.erase import erase_user
from gateway.ledger.errors import LedgerError, StoreError, StoreRebuildingError
from gateway.ledger.recovery import read_removed_until
from gateway.ledger.sinks.open_sink import open_sink
from gateway.ledger.store import (
    FEED_WAIT_SECONDS,
    MAX_FEED_TRIES,
    LedgerStore,
    Rebuild,
    SumsReport,
    count_damaged_rows,
    open_store,
)
from gateway.ledger.verify import SegmentReport
from gateway.ledger.verify import verify as verify_journals
from gateway.settings.data_folder import find_data_folder
from gateway.state.audit import AuditLog

_DAY_SECONDS = 86_400
_CHECKED_DAYS = 7
"""The newest days whose sums `verify` checks, without --all."""
_HASH_PATTERN = re.compile("[0-9a-f]{16}")


@click.group(cls=CommandGroup)
def ledger() -> None:
    """Check journals and sums for damage, rebuild the store, and erase a person from rows.

    \b
    Examples:
      tiergate ledger verify
      tiergate ledger verify --json
      tiergate ledger rebuild
      tiergate ledger erase --user $(tiergate costs user website u-4711)
    """  # noqa: D301 - \b is click's sign that lines stay apart


@ledger.command("verify")
@click.option("--all", "is_all", is_flag=True, help="Compare the sums of all days, not of 7 alone.")
@click.option("--json", "as_json", is_flag=True, help="JSON, with a report of each file.")
@click.pass_context
def verify(ctx: click.Context, *, is_all: bool, as_json: bool) -> None:
    """Read all journals, and report rows that are damaged or missing. Compare sums with rows.

    A gateway may run meanwhile. The exit status is 1 if rows are damaged or missing, or if sums of
    the store differ from its rows. Files without `.sealed` in their names have no checksums: the
    command reports lines there that are no row.

    \b
    Examples:
      tiergate ledger verify
      tiergate ledger verify --all --json
    """  # noqa: D301 - \b is click's sign that lines stay apart
    location: LedgerPlace = ctx.obj()
    reports = list(_verify(location.journal_folder))
    damaged_rows = sum(count_damaged_rows(report.damages) for report in reports)
    if not as_json:
        for report in reports:
            for text in _describe_report(report):
                click.echo(f"{report.segment}: {text}")
        files, rows = len(reports), _format_number(_count_rows(reports), "row")
        click.echo(
            f"{_format_number(files, 'file')}, {rows} intact,"
            f" {format_count(damaged_rows)} damaged or missing."
        )
    sums_reports = _check_sums(
        location, 0.0 if is_all else time.time() - _CHECKED_DAYS * _DAY_SECONDS
    )
    sum_differences = sum(report.differences for report in sums_reports)
    if as_json:
        answer = {
            "files": reports,
            "rows": _count_rows(reports),
            "damaged_rows": damaged_rows,
            "sums": [report._asdict() for report in sums_reports if report.differences],
            "sum_differences": sum_differences,
        }
        click.echo(jsonio.dumps_printable(jsonio.loads(jsonio.dumps(answer))))
    elif sums_reports:
        _print_sums(sums_reports, sum_differences)
    if damaged_rows and not as_json:
        click.echo(
            "Check the disk. If a backup has such a file whole, put it in its place and run"
            " `tiergate ledger rebuild`.",
            err=True,
        )
    if sum_differences and not as_json:
        click.echo("`tiergate ledger rebuild` has all sums made again.", err=True)
    if damaged_rows or sum_differences:
        ctx.exit(1)


@ledger.command("rebuild")
@click.pass_context
def rebuild(ctx: click.Context) -> None:
    """Read all journals again, and replace what the store has of their rows. Make all sums again.

    Use it after you restored a file of the journal, or if the store may be wrong. A gateway may run
    meanwhile: its store does not grow until the end. Rows stay whose journals are gone or damaged.
    The gateway makes the sums afterwards; until then answers are the same, and take longer.

    \b
    Examples:
      tiergate ledger rebuild
    """  # noqa: D301 - \b is click's sign that lines stay apart
    location: LedgerPlace = ctx.obj()
    if not location.journal_folder.is_dir():
        raise click.ClickException(f"there are no journals in {location.journal_folder}.")
    try:
        store = open_store(location.store, on_rebuild=_report_new_file)
        try:
            rows = _rebuild(store, location.journal_folder)
            stored_calls, damages = store.count(), store.read_damages()
        finally:
            store.close()
    except (OSError, StoreError) as error:
        raise click.ClickException(f"the store cannot be rebuilt: {error}") from error
    click.echo(
        f"{_format_number(rows, 'row')} read; the store has {_format_number(stored_calls, 'call')}."
    )
    removed_until = read_removed_until(location.journal_folder)
    if removed_until is not None:
        click.echo(
            f"Journals until {_format_time(removed_until)} were removed (ledger.keep_journal): what"
            " the store has of them has stayed.",
            err=True,
        )
    if damages:
        count = _format_number(count_damaged_rows(damages), "row")
        click.echo(f"{count} of the journals cannot be read: `tiergate ledger verify`.", err=True)


@ledger.command("erase")
@click.option(
    "--user",
    "end_user",
    required=True,
    help="The hash of the end user, as `tiergate costs user` prints it.",
)
@click.option("--yes", is_flag=True, help="Do not ask first.")
@pass_session
def erase(session: CommandSession, end_user: str, *, yes: bool) -> None:
    """Erase who a person is from the rows of all its calls, and delete their kept texts.

    The rows stay with their costs, without the hashes of the end user and the conversation and
    without the provider's ids. `verify` still holds. A gateway may run meanwhile: stop the calls of
    this user first, and run it on each machine that has journals.

    \b
    Examples:
      tiergate ledger erase --user $(tiergate costs user website u-4711)
    """  # noqa: D301 - \b is click's sign that lines stay apart
    if not _HASH_PATTERN.fullmatch(end_user):
        raise click.BadParameter(
            "this is no hash of an end user: `tiergate costs user` prints it.", param_hint="--user"
        )
    location = session()
    if not location.journal_folder.is_dir():
        raise click.ClickException(f"there are no journals in {location.journal_folder}.")
    if not yes:
        click.confirm("Erase this user from all rows? Nobody can undo it", abort=True, err=True)
    try:
        audit = AuditLog(find_data_folder(session.environ))
        audit.check()
        with ExitStack() as stack:
            store = open_store(location.store)
            stack.callback(store.close)
            sinks = [open_sink(name, url) for name, url in location.sinks.items()]
            for sink in sinks:
                stack.callback(sink.close)
            store.catch_up(location.journal_folder)
            erased = erase_user(
                location.journal_folder, location.content_folder, store, end_user, sinks
            )
        # Without the hash: it would lead to the person again.
        act = {"calls": erased.calls, "texts": erased.texts}
        audit.append("ledger.erase", who=find_user(), via="cli", after=act)
    except (OSError, LedgerError) as error:
        raise click.ClickException(f"not all is erased, run it again: {error}") from error
    click.echo(
        f"{_format_number(erased.calls, 'call')}: {_format_number(erased.lines, 'row')} of the"
        f" journals erased, {_format_number(erased.texts, 'text')} deleted."
    )


def _rebuild(store: LedgerStore, folder: Path) -> int:
    """Rebuild a store once no other process feeds it. Raises StoreError."""
    for _ in range(MAX_FEED_TRIES):
        try:
            store.catch_up(folder)  # this sets a damaged file aside
            rows = store.rebuild(folder)
        except StoreRebuildingError:
            continue
        if rows is not None:
            return rows
        time.sleep(FEED_WAIT_SECONDS)
    raise StoreError("another process feeds it without a pause; try again")


def _report_new_file(new_file: Rebuild) -> None:
    if not new_file.done:
        aside = f"; it is now {new_file.aside_name}" if new_file.aside_name else ""
        click.echo(f"The store's file was unusable: {new_file.reason}{aside}.", err=True)


def _verify(folder: Path) -> Iterator[SegmentReport]:
    try:
        yield from verify_journals(folder)
    except (OSError, StoreError) as error:
        raise click.ClickException(f"the journal cannot be read: {error}") from error


def _check_sums(location: LedgerPlace, since: float) -> list[SumsReport]:
    """Compare the sums of a store, as it is, with its rows. Raises click.ClickException."""
    if is_missing(location.store):
        return []
    try:
        store = open_store(location.store)
        try:
            return list(count_progress(store.check_sums(since=since), "quarters and days"))
        finally:
            store.close()
    except StoreError as error:
        raise click.ClickException(f"the sums cannot be checked: {error}") from error


def _print_sums(reports: list[SumsReport], sum_differences: int) -> None:
    for report in reports:
        if report.differences:
            span = f"{_format_time(report.since)} to {_format_time(report.until)}"
            count = _format_number(report.differences, "difference")
            click.echo(f"{span}: {count} of sums from their rows")
    days = sum(report.until - report.since == _DAY_SECONDS for report in reports)
    quarters = _format_number(len(reports) - days, "quarter hour")
    click.echo(
        f"Sums of {quarters} and {_format_number(days, 'day')}:"
        f" {_format_number(sum_differences, 'difference')} from their rows."
    )


def _count_rows(reports: list[SegmentReport]) -> int:
    return sum(report.rows for report in reports)


def _describe_report(report: SegmentReport) -> Iterator[str]:
    for damage in report.damages:
        yield _describe_damage(damage)
    if report.unreadable:
        count = _format_number(report.unreadable, "line")
        yield f"{count} cannot be read: torn in a crash, or damaged"
    if report.debris:
        count = _format_number(report.debris, "piece")
        yield f"{count} of interrupted writes; no row is missing there"
    if report.torn:
        yield "ends within a row, which no call has waited for"


def _describe_damage(damage: DamagedRow) -> str:
    rows = (
        f"row {damage.first} is"
        if damage.first == damage.last
        else f"rows {damage.first} to {damage.last} are"
    )
    word = "damaged or missing" if damage.problem == "missing" else "not of this file, or twice"
    return f"{rows} {word}, written until {_format_time(damage.until)}"


def _format_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _format_number(count: int, noun: str) -> str:
    return f"{format_count(count)} {noun}{'' if count == 1 else 's'}"
