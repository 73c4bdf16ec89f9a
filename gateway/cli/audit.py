"""`tiergate audit`: shows who changed what through the gateway."""

import time
from datetime import UTC, datetime

import click

from gateway.cli.session import CommandSession, pass_session
from gateway.cli.terminal import TableColumn, print_table
from gateway.core import jsonio
from gateway.ledger.errors import LedgerQueryError
from gateway.ledger.query_params import parse_audit_query
from gateway.limits.errors import KeyStoreError
from gateway.limits.key_loading import list_audit_places, open_key_store
from gateway.settings.data_folder import find_data_folder
from gateway.state.audit import AuditLog, AuditRow, read_audit

_MAX_VALUE_CHARS = 60
"""Characters of a value in the table; `--json` has all of it."""


@click.command("audit")
@click.option("--since", default="", help="From: 7d ago, a date or a date and time.")
@click.option("--until", default="", help="To: as above; a date is included.")
@click.option("--who", default="", help="Only of this admin or user.")
@click.option("--act", default="", help="Only this act or its kind, as key.rotate or key.")
@click.option("--subject", default="", help="Only this key.")
@click.option("--limit", default=100, type=click.IntRange(1), help="The most rows. [100]")
@click.option("--json", "as_json", is_flag=True, help="JSON, with all that a row has.")
@pass_session
def command(
    session: CommandSession,
    since: str,
    until: str,
    who: str,
    act: str,
    subject: str,
    limit: int,
    *,
    as_json: bool,
) -> None:
    """Show what admins and commands have changed, newest first.

    It reads audit.jsonl of the data folder, and the database of keys, if `keys` names one. A
    gateway also answers GET /admin/audit.

    \b
    Examples:
      tiergate audit --since 7d
      tiergate audit --act key --subject website --json
    """  # noqa: D301 - \b is click's sign that lines stay apart
    zone = session.source.config.ledger.time_zone
    try:
        query = parse_audit_query(
            since=since,
            until=until,
            who=who,
            act=act,
            subject=subject,
            zone=zone,
            now=time.time(),
        )
    except LedgerQueryError as error:
        raise click.BadParameter(f"{error}.", param_hint=f"--{error.parameter}") from None
    data = find_data_folder(session.environ)
    audit, key_store = AuditLog(data), open_key_store(session.source, data)
    try:
        page = read_audit(list_audit_places(audit, key_store), query, limit)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise click.ClickException(f"{audit.file} cannot be read: {reason}.") from None
    except KeyStoreError as error:
        raise click.ClickException(f"{error}.") from None
    if as_json:
        click.echo(jsonio.dumps_printable(jsonio.loads(jsonio.dumps(page.rows))))
        return
    names = ("at", "who", "via", "act", "subject", "before", "after")
    print_table([TableColumn(name) for name in names], [_format_row(row) for row in page.rows])
    if page.cursor is not None:
        click.echo("There are older rows: --limit or --until shows them.", err=True)


def _format_row(row: AuditRow) -> list[str]:
    moment = datetime.fromtimestamp(row.at, UTC)
    act = f"{row.act} (failed: {row.error})" if row.error else row.act
    values = (_format_value(row.before), _format_value(row.after))
    return [f"{moment:%Y-%m-%d %H:%M:%SZ}", row.who, row.via, act, row.subject or "", *values]


def _format_value(value: object) -> str:
    if value is None:
        return ""
    text = jsonio.dumps_printable(value)
    return text if len(text) <= _MAX_VALUE_CHARS else f"{text[: _MAX_VALUE_CHARS - 3]}..."
