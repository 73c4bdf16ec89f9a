"""`tiergate shadow`: what a candidate configuration would have decided of the calls that came."""

from typing import Any

import click

from gateway.cli import admin_client
from gateway.cli.session import CommandSession, pass_session
from gateway.cli.terminal import TableColumn, draw
from gateway.core import jsonio

_SHOWN = 10


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
    base = (url or admin_client.address(session)).rstrip("/")
    told = admin_client.read(session, f"{base}/admin/shadow")
    if told is None:
        raise click.ClickException(f"no gateway answers at {base}. Name another with --url.")
    if as_json:
        click.echo(jsonio.shown(told))
    else:
        _show(told)


def _show(told: dict[str, Any]) -> None:
    click.echo(f"candidate  {told['file']}, {told['candidate'] or 'not in use'}")
    for mistake in told["mistakes"]:
        click.secho(f"  {mistake}", fg="red")
    left = f", {told['skipped']} left out for want of room" if told["skipped"] else ""
    failed = f", {told['failed']} at which it failed" if told["failed"] else ""
    share = told["agreement"]
    agree = "" if share is None else f", {share:.1%} decided alike"
    click.echo(f"calls      {told['calls']}{agree}{left}{failed}")
    cost = told["cost"]
    if cost["difference"] is not None:
        unknown = f", unknown of {cost['unknown']}" if cost["unknown"] else ""
        click.echo(
            f"cost       {cost['own']} -> {cost['candidate']} USD of {cost['calls']} calls{unknown}"
        )
    click.echo()
    own, other = told["tiers"]["own"], told["tiers"]["candidate"]
    draw(
        [
            TableColumn("tier"),
            TableColumn("in force", right=True),
            TableColumn("candidate", right=True),
        ],
        [
            [tier or "-", str(own.get(tier, 0)), str(other.get(tier, 0))]
            for tier in {**own, **other}
        ],
    )
    if told["rules"]:
        click.echo()
        draw(
            [TableColumn("decided by"), TableColumn("candidate"), TableColumn("calls", right=True)],
            [[one["own"], one["candidate"], str(one["calls"])] for one in told["rules"][:_SHOWN]],
        )
    if told["examples"]:
        click.echo()
        draw(
            [
                TableColumn("call"),
                TableColumn("key"),
                TableColumn("in force"),
                TableColumn("candidate"),
            ],
            [
                [one["id"], one["key"], _place(one["own"]), _place(one["candidate"])]
                for one in told["examples"][:_SHOWN]
            ],
        )


def _place(one: dict[str, str]) -> str:
    if one["tier"] == "refused":
        return f"refused ({one['by']})"
    return f"{one['lab']}/{one['tier']} {one['target']} by {one['by']}"
