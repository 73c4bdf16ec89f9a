"""`tiergate shadow`: says how a candidate configuration would have decided the calls that came."""

import click

from gateway.cli import admin_client
from gateway.cli.replay_report import print_report
from gateway.cli.session import CommandSession, pass_session
from gateway.core import jsonio


@click.command("shadow")
@click.option("--url", help="Where the gateway answers. [server.host, server.port]")
@click.option("--json", "as_json", is_flag=True, help="The same values as GET /admin/shadow.")
@pass_session
def command(session: CommandSession, url: str | None, *, as_json: bool) -> None:
    """Say how a candidate configuration (routing.shadow) decides beside the one that runs.

    It asks a running gateway, with TIERGATE_ADMIN_KEY where that is set.

    \b
    Examples:
      tiergate shadow
      tiergate shadow --url http://127.0.0.1:8484 --json
    """  # noqa: D301 - \b is click's sign that lines stay apart
    base = (url or admin_client.make_base_url(session)).rstrip("/")
    answer = admin_client.fetch_json(session, f"{base}/admin/shadow")
    if answer is None:
        raise click.ClickException(f"no gateway answers at {base}. Name another with --url.")
    if as_json:
        click.echo(jsonio.dumps_printable(answer))
        return
    click.echo(f"candidate  {answer['file']}, {answer['candidate'] or 'not in use'}")
    for mistake in answer["mistakes"]:
        click.secho(f"  {mistake}", fg="red")
    report = answer["report"]
    skipped_note = (
        f", {answer['skipped']} skipped while the queue was full" if answer["skipped"] else ""
    )
    failed_note = f", {answer['failed']} failed" if answer["failed"] else ""
    click.echo(f"calls      {report['calls'] if report else 0}{skipped_note}{failed_note}")
    if report and report["calls"]:
        click.echo()
        print_report(report, session.source.config.ledger.time_zone)
