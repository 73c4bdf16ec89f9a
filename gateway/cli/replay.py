"""`tiergate replay`: says what this configuration would have done with the ledger's calls."""

import time
from pathlib import Path

import click

from gateway.cli.ledger_session import (
    LedgerPlace,
    adopt_ledger_traffic,
    open_ledger,
    parse_query_options,
    period_options,
)
from gateway.cli.replay_report import print_report
from gateway.cli.session import CommandSession, pass_session
from gateway.cli.terminal import format_count, progress
from gateway.core import jsonio
from gateway.evaluation import chart
from gateway.evaluation.replay import report
from gateway.evaluation.replay.replay import LedgerReplay, build_replay
from gateway.ledger import transcripts
from gateway.ledger.query_params import LedgerQuery
from gateway.runtime.build import BuiltConfig
from gateway.settings.loader import CandidateRules


@click.command("replay")
@period_options()
@click.option("--key", "keys", multiple=True, help="Only calls of this key; may be repeated.")
@click.option("--tag", "tags", multiple=True, help="Only calls with this tag; may be repeated.")
@click.option("--only", multiple=True, help="Only calls with NAME=VALUE, as of costs.")
@click.option(
    "--rules",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file with guards and choices in place of the configuration's.",
)
@click.option(
    "--limit",
    default=20,
    show_default=True,
    type=click.IntRange(0),
    help="Changed calls that are listed, those of most money first.",
)
@click.option(
    "--picture",
    "drawing",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write tiers and money before and after as SVG.",
)
@click.option("--json", "as_json", is_flag=True, help="JSON, with exact decimals as strings.")
@pass_session
def command(  # noqa: PLR0913 - one argument for each option
    session: CommandSession,
    *,
    since: str | None,
    until: str | None,
    keys: tuple[str, ...],
    tags: tuple[str, ...],
    only: tuple[str, ...],
    rules: Path | None,
    limit: int,
    drawing: Path | None,
    as_json: bool,
) -> None:
    """Decide the calls of the ledger again by this configuration; nothing is sent to anybody.

    It says where calls would have gone, and what they would have cost. An answer on another tier
    has the tokens that are usual there. What a rule asks of a text that was not kept is never
    guessed: such calls are counted.

    \b
    Examples:
      tiergate replay --config new.yaml --since 7d
      tiergate replay --rules new-rules.yaml --since 7d
      tiergate replay --config new.yaml --key support --picture replay.svg
      tiergate replay --config new.yaml --only tier=reasoning --json
    """  # noqa: D301 - \b is click's sign that lines stay apart
    if rules is not None:
        session.candidate_rules = CandidateRules(str(rules), rules.read_text(encoding="utf-8"))
    location = session()
    filters = [*only, *(f"key={name}" for name in keys), *(f"tag={name}" for name in tags)]
    query = parse_query_options(since=since, until=until, only=filters, zone=location.time_zone)
    router = session.built_config.router
    texts = transcripts.make_features_reader(location.content_folder, router.fetched_media)
    replay = build_replay(router, session.source.config, texts, limit)
    started_at = time.monotonic()
    _replay_rows(replay, location, query, session.built_config)
    if drawing is not None:
        drawing.write_text(chart.draw_replay(replay.totals), encoding="utf-8")
    report_json = report.describe_totals(replay.totals, router.catalogue.version)
    if as_json:
        click.echo(jsonio.dumps_printable(report_json))
        return
    if not replay.totals.total.calls:
        click.echo("No such calls in the ledger.")
        return
    print_report(report_json, location.time_zone)
    click.echo(
        f"\n{format_count(replay.totals.total.calls)} calls "
        f"in {time.monotonic() - started_at:.1f} s."
    )
    if drawing is not None:
        click.echo(f"The picture is in {drawing}.")


def _replay_rows(
    replay: LedgerReplay, location: LedgerPlace, query: LedgerQuery, built_config: BuiltConfig
) -> None:
    with open_ledger(location) as store:
        adopt_ledger_traffic(built_config, store)
        if store is None:
            return
        selection = {**query.selection, "zone": query.time_zone}
        with progress("deciding", store.count(**selection)) as step:
            for row in store.read_replay_rows(**selection):
                replay.replay_row(row)
                step()
