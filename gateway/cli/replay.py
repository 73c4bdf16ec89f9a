"""`tiergate replay`: what this configuration would have done with the calls of the ledger."""

import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import click

from gateway.cli.ledger_session import LedgerPlace, asked, opened
from gateway.cli.session import CommandSession, pass_session
from gateway.cli.terminal import TableColumn, draw, number, progress, usd
from gateway.core import jsonio
from gateway.core.errors import ProblemError
from gateway.core.ledger_rows import ReplayRow
from gateway.dialects import TranslatableRequest
from gateway.evaluation.replay import chart, report
from gateway.evaluation.replay.replay import LedgerReplay, Text
from gateway.evaluation.replay.totals import ChangedCall, ReplayedOutcome, ReplayGroup, ReplayTotals
from gateway.ledger import transcripts
from gateway.ledger.query_params import LedgerQuery, place
from gateway.routing import features
from gateway.routing.features import Features
from gateway.routing.replay_decision import RecordedFeatures
from gateway.routing.tier_share import ShareBounds
from gateway.settings.loader import CandidateRules
from gateway.settings.schema.root import Config


@click.command("replay")
@click.option("--since", help="From: 90m, 24h, 7d, 4w ago, a date or a date and time.")
@click.option("--until", help="To: as above; a date is included.")
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

    It says where calls would have gone, and what they would have cost with the tokens that they
    had. What a rule asks of a text that was not kept is never guessed: such calls are counted.

    \b
    Examples:
      tiergate replay --config new.yaml --since 7d
      tiergate replay --rules new-rules.yaml --since 7d
      tiergate replay --config new.yaml --key support --picture replay.svg
      tiergate replay --config new.yaml --only tier=reasoning --json
    """  # noqa: D301 - \b is click's sign that lines stay apart
    if rules is not None:
        session.rules = CandidateRules(str(rules), rules.read_text(encoding="utf-8"))
    books = session()
    chosen = [*only, *(f"key={name}" for name in keys), *(f"tag={name}" for name in tags)]
    question = asked(since=since, until=until, only=chosen, zone=books.time_zone)
    router, walk = session.site.router, walker(session, limit)
    began = time.monotonic()
    _walk(walk, books, question)
    if drawing is not None:
        drawing.write_text(chart.draw(walk.sums), encoding="utf-8")
    if as_json:
        click.echo(jsonio.shown(report.view(walk.sums, router.catalogue.version)))
        return
    if not walk.sums.total.calls:
        click.echo("No such calls in the ledger.")
        return
    _show(walk.sums, books.time_zone)
    click.echo(f"\n{number(walk.sums.total.calls)} calls in {time.monotonic() - began:.1f} s.")
    if drawing is not None:
        click.echo(f"The picture is in {drawing}.")


def walker(session: CommandSession, most: int) -> LedgerReplay:
    """What decides again by a configuration; `most` changed calls are listed."""
    router, config = session.site.router, session.source.config
    return LedgerReplay(
        router,
        text=_texts(session(), router.fetches),
        lacks=_lacks(config),
        bounds=_bounds(config),
        most=most,
    )


def _bounds(config: Config) -> ShareBounds | None:
    """The bounds on the shares of tiers; None where there are none."""
    most = config.routing.max_share
    if most.reasoning == most.smart == 1:
        return None
    return ShareBounds(reasoning=most.reasoning, smart=most.smart)


def _lacks(config: Config) -> list[str]:
    """Fields of evidence that this configuration gives to no call."""
    lacks = [] if _bounds(config) else ["thresholds"]
    if not any(budget.then for budget in config.budgets):
        lacks.append("ceiling")
    if config.routing.judge is None:
        lacks += ["judged", "unjudged"]
    return lacks


def _walk(walk: LedgerReplay, books: LedgerPlace, question: LedgerQuery) -> None:
    with opened(books) as store:
        if store is None:
            return
        chosen = {**question.chosen, "zone": question.place}
        with progress("deciding", store.count(**chosen)) as step:
            for row in store.logged(**chosen):
                walk.take(row)
                step()


def _texts(books: LedgerPlace, fetches: frozenset[str]) -> Text | None:
    """Reads kept text; None where there is none."""
    folder = books.content_folder
    if not folder.is_dir():
        return None

    def text(row: ReplayRow, seen: RecordedFeatures) -> Features | None:
        found = transcripts.find(folder, row.id)
        if found is None or found.cut or seen.client.read_at is not None:
            return None
        try:
            body = seen.client.read(found.prompt.encode())
        except ProblemError:  # something of it was struck out
            return None
        told = TranslatableRequest(seen.client, body, fetches)
        call = features.read(body.prompt, row.dialect, seen.key, seen.steer, told)
        call.turn = seen.turn
        return call

    return text


def _show(sums: ReplayTotals, zone: str) -> None:
    total = sums.total
    names = report.shown(total)
    draw(
        [TableColumn("calls"), *(TableColumn(name, right=True) for name in (*names, "USD"))],
        [
            ["before", *(number(total.tiers_before[name]) for name in names), usd(total.before)],
            ["after", *(number(total.tiers_after[name]) for name in names), usd(total.after)],
        ],
        notes=_notes(sums),
    )
    decided = total.calls - total.undecided
    click.echo(f"\n{number(total.changed)} of {number(decided)} calls would go elsewhere.")
    if sums.lost or sums.gained:
        click.echo(
            f"Of the money, prompt caches: {usd(sums.lost)} lost, {usd(sums.gained)} gained."
        )
    for word, groups in (("key", sums.keys), ("tag", sums.tags)):
        if len(groups) > 1 or (word == "tag" and groups):
            click.echo()
            _groups(word, groups, names)
    if changed := sums.changed:
        click.echo()
        _changed(changed, zone)


def _groups(word: str, groups: Mapping[str, ReplayGroup], names: list[str]) -> None:
    heads = ["calls", "changed", *names, "USD before", "USD after"]
    draw(
        [TableColumn(word), *(TableColumn(head, right=True) for head in heads)],
        [
            [
                name,
                number(group.calls),
                number(group.changed),
                *(f"{group.tiers_before[tier]:,} > {group.tiers_after[tier]:,}" for tier in names),
                usd(group.before),
                usd(group.after),
            ]
            for name, group in sorted(groups.items(), key=lambda one: (-one[1].calls, one[0]))
        ],
    )


def _changed(changed: list[ChangedCall], zone: str) -> None:
    draw(
        [
            TableColumn("call"), TableColumn("received", rank=2), TableColumn("key", rank=1),
            TableColumn("USD", right=True), TableColumn("before"), TableColumn("after"),
        ],
        [
            [
                one.id,
                f"{datetime.fromtimestamp(one.at, place(zone)):%Y-%m-%d %H:%M}",
                one.key,
                "unknown" if one.usd is None else f"{one.usd:+,.6f}",
                _outcome(one.before),
                _outcome(one.after),
            ]
            for one in changed
        ],
    )  # fmt: skip


def _outcome(one: ReplayedOutcome) -> str:
    where = "refused" if one.target is None else f"{one.column} {one.target}"
    return f"{where} by {one.by}"


def _calls(count: int) -> str:
    return "1 call" if count == 1 else f"{number(count)} calls"


def _notes(sums: ReplayTotals) -> list[str]:
    notes = [
        f"{_calls(count)} cannot be decided again: the ledger does not have {what}."
        for what, count in sums.unread.most_common()
    ]
    if sums.apart:
        notes.append(f"{_calls(sums.apart)} refused before anything was decided.")
    if sums.assumed:
        notes.append(
            f"{_calls(sums.assumed)} taken to be sayable in another dialect, as plain ones are: "
            "nobody tried."
        )
    if unknown := sums.total.unknown:
        notes.append(f"{_calls(unknown)} at a cost that is not known: in no sum.")
    return notes
